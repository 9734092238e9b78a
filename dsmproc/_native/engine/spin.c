#include "engine/spin.h"
#include "sys/spin.h"

/* ns. At its least limit a thread still tries now and then whether it is worth while. */
enum { LEAST = 4000, FIRST = 50000, MOST = 100000 };
enum { REST_FIRST = 1000000, REST_MOST = 64000000, CHECK = 10000000 };

/* Somebody else wants this core. */
static void rest(struct dsmproc_spin *spin, uint64_t time) {
    spin->rest = spin->rest ? spin->rest * 2 : REST_FIRST;
    if (spin->rest > REST_MOST) spin->rest = REST_MOST;
    spin->rest_until = time + spin->rest;
}

static bool is_allowed(struct dsmproc_spin *spin, uint64_t time) {
    if (time < spin->rest_until) return false;
    if (time - spin->checked < CHECK) return true;
    spin->checked = time;
    if (dsm_runnable() <= dsm_cores()) return true;
    rest(spin, time);
    return false;
}

void dsm_spin_begin(struct dsmproc_spin *spin, struct dsm_spinning *now) {
    *now = (struct dsm_spinning){0};
    if (!spin->limit) spin->limit = dsm_cores() > 1 ? FIRST : DSMPROC_SPIN_NEVER;
    if (spin->limit == DSMPROC_SPIN_NEVER) return;
    uint64_t time = dsm_clock_ns();
    if (!is_allowed(spin, time)) return;
    now->until = time + spin->limit;
    now->preemptions = dsm_preemptions();
}

bool dsm_spin_again(struct dsmproc_spin *spin, struct dsm_spinning *now) {
    if (!now->until) return false;
    dsm_yield();
    uint64_t time = dsm_clock_ns();
    if (time >= now->until) return false;
    now->looks++;
    if (dsm_preemptions() == now->preemptions) return true;
    rest(spin, time);
    return false;
}

void dsm_spin_end(struct dsmproc_spin *spin, const struct dsm_spinning *now, bool came) {
    if (!now->until || !now->looks) return;
    if (came) {
        spin->limit = spin->limit * 2 < MOST ? spin->limit * 2 : MOST;
        spin->rest /= 2;
    } else {
        spin->limit = spin->limit / 2 > LEAST ? spin->limit / 2 : LEAST;
    }
}
