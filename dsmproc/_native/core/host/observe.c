/* Observe: learn what others have announced, and the gate behind which its consequences wait.
 *
 * The master names pages (NOTICES) before it says anything that lets a process here go on: the end
 * of an OBSERVE, a GRANT, a RET, a PUBLISHED. What it says after them must wait until their
 * invalidations are finished here. One is not at once: a page that is dirty while its last diff is
 * unacknowledged (ONE_DIFF). So what the master said queues up at the gate (GATE), in order, and
 * passes when no invalidation (and no look at a lock's word) is pending: step.c then does it.
 * `seen` is advanced at the gate only.
 */
#include "core/host/host.h"

static void send_observe(struct dsm_host *host) {
    dsm_sent(host->out, dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_OBSERVE), 0);
    host->observing = 1;
    host->observe_sent++;
}

/* Answer the observers that have what they asked for; ask the master once for the others. */
static void serve(struct dsm_host *host) {
    struct dsm_queue left = {0};
    for (dsm_ref ref; (ref = dsm_queue_pop(host, &host->observers));) {
        const struct dsm_job *job = dsm_at(host, ref);
        if (job->arg <= host->seen || job->a <= host->observe_done)
            dsm_job_reply(host, ref, DSM_ST_OK, host->seen);
        else
            dsm_queue_push(host, &left, ref);
    }
    host->observers = left;
    if (left.head && !host->observing) send_observe(host);
}

/* An OBSERVE sent from now on covers any stamp that exists now. */
static void observe(struct dsm_host *host, uint64_t req, uint64_t stamp) {
    struct dsm_job job = {.kind = DSM_JOB_OBSERVE, .req = req, .arg = stamp};
    job.a = host->observe_sent + 1;
    dsm_queue_push(host, &host->observers, dsm_job_new(host, job));
    if (!host->observing) send_observe(host);
}

void dsm_observe_up_to(struct dsm_host *host, uint64_t stamp) {
    if (stamp > host->seen) observe(host, 0, stamp);
}

int dsm_observe_request(struct dsm_host *host, const struct dsm_event *event) {
    if (event->arg <= host->seen) {
        dsm_reply(host, event->req, DSM_ST_OK, host->seen);
        return DSM_OK;
    }
    observe(host, event->req, event->arg);
    return DSM_OK;
}

void dsm_observe_tick(struct dsm_host *host) {
    if (!host->observing && host->region_list) send_observe(host);
}

static void notice(struct dsm_host *host, uint64_t id, uint32_t home, uint32_t epoch) {
    struct dsm_page *page = dsm_page_learn_home(host, id, home, epoch);
    if (page) dsm_page_invalidate(host, page);
}

/* A home is known to itself first, and an epoch has one home. And is there room to note it? */
static int judge(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n) {
    uint64_t room = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        uint32_t count = dsm_get16(&cursor), home = dsm_get16(&cursor);
        uint32_t epoch = dsm_get32(&cursor);
        const struct dsm_region *region = dsm_region_find(host, id >> 32);
        if (!region || region->state != DSM_REGION_READY) continue;
        room += dsm_page_room(host, id, count);
        for (; count--; id++) {
            if (!DSM_RULE_ON(host, DSM_RULE_CLAIM)) break;
            if (!dsm_page_home_fits(host, region, (uint32_t)id, home, epoch)) return DSM_E_PEER;
        }
    }
    return dsm_arena_room(&host->arena, room) ? DSM_OK : DSM_E_MEMORY;
}

int dsm_observe_on_notices(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t upto = dsm_get64(cursor);
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || !dsm_page_runs_sound(host, *cursor, n)) return DSM_E_PEER;
    int status = judge(host, *cursor, n);
    if (status != DSM_OK) return status;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        uint32_t count = dsm_get16(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        dsm_count(host, DSM_COUNT_NOTICES_RECEIVED, count);
        for (; count--; id++)
            notice(host, id, home, epoch);
    }
    if (upto) dsm_observe_gate(host, (struct dsm_job){.kind = DSM_JOB_SEEN, .arg = upto});
    return DSM_OK;
}

/* ---- the gate ---------------------------------------------------------------------------- */

static bool is_open(const struct dsm_host *host) {
    if (host->invalid_later && DSM_RULE_ON(host, DSM_RULE_GATE)) return false;
    return !host->ncompared && !host->word_lock;
}

void dsm_observe_gate(struct dsm_host *host, struct dsm_job job) {
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof job);
    *(struct dsm_job *)dsm_at(host, ref) = job;
    dsm_queue_push(host, &host->gate, ref);
}

bool dsm_observe_pass(struct dsm_host *host, struct dsm_job *job) {
    if (!host->gate.head || !is_open(host)) return false;
    dsm_ref ref = dsm_queue_pop(host, &host->gate);
    *job = *(struct dsm_job *)dsm_at(host, ref);
    dsm_arena_give(&host->arena, ref, sizeof *job);
    return true;
}

void dsm_observe_seen(struct dsm_host *host, uint64_t stamp) {
    if (stamp > host->seen) host->seen = stamp;
    serve(host);
}

void dsm_observe_observed(struct dsm_host *host) {
    host->observing = 0;
    host->observe_done = host->observe_sent;
    serve(host);
}

void dsm_observe_told(struct dsm_host *host, uint64_t stamp) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_KNOWN);
    dsm_put64(host->out, stamp);
    dsm_sent(host->out, message, 0);
}
