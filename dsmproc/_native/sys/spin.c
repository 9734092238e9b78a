#include "sys/spin.h"
#include "sys/cores.h"

/* ns. Below LEAST it is not worth two looks: the limit is 0 then. */
enum { LEAST = 4000, FIRST = 50000, MOST = 100000 };
enum { PERIOD = 1 << 28, CENSUS = PERIOD / 16 };

/* In a census: who runs while nobody spins. */
static void count(struct dsmproc_spin *spin, uint64_t time) {
    if (spin->census != time / PERIOD) {
        spin->census = time / PERIOD;
        spin->asked = spin->running = 0;
    }
    spin->asked++;
    spin->running += dsm_runnable();
    spin->crowded = spin->running >= spin->asked * (spin->cores + 1); /* one is this thread */
}

void dsm_spin_begin(struct dsmproc_spin *spin, struct dsm_spinning *now) {
    if (!spin->cores) {
        spin->cores = dsm_cores();
        spin->limit = FIRST;
    }
    *now = (struct dsm_spinning){.began = dsm_clock_ns()};
    if (spin->cores < 2) return;
    if (now->began % PERIOD < CENSUS)
        count(spin, now->began);
    else if (spin->limit && !spin->crowded)
        now->until = now->began + spin->limit;
}

bool dsm_spin_again(const struct dsm_spinning *now) {
    if (!now->until) return false;
    dsm_yield();
    return dsm_clock_ns() < now->until;
}

void dsm_spin_end(struct dsmproc_spin *spin, const struct dsm_spinning *now) {
    if (dsm_clock_ns() - now->began <= MOST)
        spin->limit = spin->limit * 2 < FIRST ? FIRST : MOST;
    else
        spin->limit = spin->limit / 2 > LEAST ? spin->limit / 2 : 0;
}
