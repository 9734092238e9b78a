/* Publish: announce what this host has written since it last did.
 *
 *   IDLE ──start──► COMPARING ──all compared, all claims answered──► ACKING ──no diff is
 *     ▲                                                                        unacknowledged──┐
 *     └────────────────────── announce: NOTICE, then the jobs ◄────────────────────────────────┘
 *
 * Invariants.
 *   ACK: the NOTICE leaves after the homes have acknowledged every diff it covers, and whatever
 *      may make another process read (a token, a call) leaves after the NOTICE on the same
 *      connection
 *   OVERLAP: one publish runs at a time; a request that comes meanwhile is served by the next one,
 *      for pages may have been written after the running one has compared them
 *   CLAIM: a page without home is claimed first; no NOTICE names a page whose home is not settled
 *   OWED: the NOTICE names every page whose changes left this host since the last one, by any path
 *
 * A publish looks at DSM_SLICE pages a step; between slices (DSM_ACT_MORE) faults are served.
 */
#include <assert.h>

#include "core/host/host.h"

bool dsm_publish_busy(const struct dsm_host *host) {
    return host->ndirty || host->nowed || host->publish != DSM_IDLE ||
           host->stamped < host->notices;
}

uint64_t dsm_publish_out(const struct dsm_host *host) {
    return host->published > host->seen ? host->published : host->seen;
}

/* ---- looking at dirty pages -------------------------------------------------------------- */

static void send_claim(struct dsm_host *host) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_CLAIM);
    dsm_put16(host->out, host->nclaim);
    for (uint32_t i = 0; i < host->nclaim; i++)
        dsm_put64(host->out, host->claim[i]);
    dsm_sent(host->out, message, 0);
    host->nclaim = 0;
    host->claims++;
}

static void slice(struct dsm_host *host) {
    for (uint32_t looked = 0; host->todo && looked < DSM_SLICE; looked++) {
        struct dsm_page *page = dsm_page_at(host, dsm_queue_pop(host, &host->dirty));
        host->todo--;
        host->ndirty--;
        page->flags &= (uint16_t)~DSM_IN_DIRTY;
        if (!dsm_look_at(host, page)) dsm_written_look_at(host, page);
    }
    if (host->nclaim) send_claim(host);
}

void dsm_publish_slice(struct dsm_host *host) {
    host->more_asked = 0;
    if (host->publish == DSM_COMPARING) slice(host);
}

static bool goes_to_barrier(const struct dsm_host *host) {
    for (dsm_ref at = host->jobs.head; at; at = dsm_next(host, at)) {
        const struct dsm_job *job = dsm_at(host, at);
        if (job->kind == DSM_JOB_CALL && job->op == DSM_CALL_BAR_WAIT) return true;
    }
    return false;
}

/* Look at `pages` of the dirty pages, the oldest first. */
static void start(struct dsm_host *host, uint32_t pages) {
    assert(host->publish == DSM_IDLE);
    host->publish = DSM_COMPARING;
    host->todo = pages;
    host->jobs = host->next_jobs;
    host->barrier = goes_to_barrier(host);
    dsm_feed_publish(host);
    host->next_jobs = (struct dsm_queue){0};
    host->stale_ticks = 0;
    dsm_count(host, DSM_COUNT_PUBLISHES, 1);
    slice(host);
}

/* May the master say that the home of this page, which we claimed, is `home`? */
static bool answers_claim(const struct dsm_host *host, const struct dsm_page *page, uint32_t home,
                          uint32_t epoch) {
    if (home >= DSM_MAX_HOSTS) return false;
    if (!page || !(page->flags & DSM_CLAIMED) || page->epoch != epoch) return true;
    if (page->home != DSM_NO_HOST) return home == page->home;
    return home != host->config.host || page->state == DSM_DIRTY;
}

int dsm_publish_on_claimed(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || !host->claims || n > DSM_SLICE) return DSM_E_PEER;
    if ((uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 14) return DSM_E_PEER;
    struct dsm_cursor check = *cursor;
    for (uint32_t i = 0; i < n; i++) {
        const struct dsm_page *page = dsm_page_there(host, dsm_get64(&check));
        uint32_t home = dsm_get16(&check), epoch = dsm_get32(&check);
        if (!answers_claim(host, page, home, epoch)) return DSM_E_PEER;
    }
    host->claims--;
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, dsm_get64(cursor));
        uint32_t home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        if (!page || !(page->flags & DSM_CLAIMED)) continue; /* its region is gone */
        page->flags &= (uint16_t)~DSM_CLAIMED;
        /* Where the page or a diff is out, the answer says where it lives (page.c, flush.c). */
        bool asked = dsm_page_is_pending(page) || page->state == DSM_FETCHING; /* FORWARD */
        if (page->home == DSM_NO_HOST || (epoch > page->epoch && !asked)) {
            page->home = (uint16_t)home;
            page->epoch = epoch;
        }
        if (dsm_page_is_homeless(host, page)) {
            if (page->home == host->config.host) dsm_page_owe(host, page, true);
            if (page->state == DSM_DIRTY) dsm_page_compare(host, page, false, false);
        } else if (page->home == host->config.host) {
            if (page->epoch == 0)
                dsm_written_become_home(host, page); /* else it was handed over meanwhile */
        } else if (page->state == DSM_DIRTY) {
            dsm_page_compare(host, page, false, false);
        }
    }
    return DSM_OK;
}

/* ---- announcing -------------------------------------------------------------------------- */

enum { RUN_MAX = 256, RUNS_MAX = 256 };

/* What a NOTICE says of adjacent pages alike. */
struct run {
    uint64_t first;
    uint32_t count, home, epoch, changed;
};

/* A new home announces itself: while one has not said that it is, it is still this host. */
static struct run run_of(const struct dsm_host *host, const struct dsm_page *page) {
    bool handing = page->flags & DSM_HANDING;
    return (struct run){.first = dsm_page_id(host, page),
                        .home = handing ? host->config.host : page->home,
                        .epoch = page->epoch - handing,
                        .changed = page->flags & DSM_CHANGED};
}

static bool joins(const struct dsm_host *host, const struct run *run, const struct dsm_page *page) {
    struct run next = run_of(host, page);
    return next.first == run->first + run->count && next.home == run->home &&
           next.epoch == run->epoch && next.changed == run->changed;
}

/* Take a run off the owed queue. */
static struct run pop_run(struct dsm_host *host) {
    struct run run = {0};
    while (host->owed_head && run.count < RUN_MAX) {
        struct dsm_page *page = dsm_page_at(host, host->owed_head);
        if (!run.count) run = run_of(host, page);
        if (!joins(host, &run, page)) break;
        run.count++;
        page->flags &= (uint16_t) ~(DSM_IN_OWED | DSM_CHANGED | DSM_APPLIED);
        host->owed_head = page->owed_next;
        host->nowed--;
    }
    if (!host->owed_head) host->owed_tail = 0;
    return run;
}

static void send_notices(struct dsm_host *host) {
    struct dsm_owed carried = dsm_bound_owed(host);
    while (host->nowed) {
        uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_NOTICE);
        uint32_t last_at = host->out->nbytes, n = 0;
        dsm_put8(host->out, 0);
        uint32_t n_at = host->out->nbytes;
        dsm_put16(host->out, 0);
        for (; host->nowed && n < RUNS_MAX; n++) {
            struct run run = pop_run(host);
            dsm_put64(host->out, run.first);
            dsm_put16(host->out, run.count | (run.changed ? 0 : DSM_MOVED_ONLY));
            dsm_put16(host->out, run.home);
            dsm_put32(host->out, run.epoch);
        }
        dsm_patch16(host->out, n_at, n);
        host->out->bytes[last_at] = host->nowed || carried.head ? 0 : dsm_publish_last(host);
        dsm_sent(host->out, message, 0);
    }
    dsm_bound_announce(host, &carried);
    host->notices++;
}

/* Eager release consistency: what is announced must be known everywhere before anybody goes on. */
static bool waits_for_all(const struct dsm_host *host) {
    return host->config.model == DSM_ERC;
}

/* All written before is announced (or nothing was): what was waiting for it may go, in step.c. */
static void finish(struct dsm_host *host, dsm_ref ref) {
    struct dsm_job *job = dsm_at(host, ref);
    bool stamp = job->kind == DSM_JOB_PUBLISH;
    if ((stamp || waits_for_all(host)) && host->stamped < host->notices) {
        job->stamped = host->notices;
        dsm_queue_push(host, &host->stamping, ref);
    } else {
        dsm_queue_push(host, &host->ready, ref);
    }
}

static void announce(struct dsm_host *host) {
    if (host->nowed) send_notices(host);
    host->publish = DSM_IDLE;
    struct dsm_queue jobs = host->jobs;
    host->jobs = (struct dsm_queue){0};
    for (dsm_ref job; (job = dsm_queue_pop(host, &jobs));)
        finish(host, job);
}

void dsm_publish_stamped(struct dsm_host *host, uint64_t stamp) {
    host->stamped++;
    if (stamp > host->published) host->published = stamp;
    if (!DSM_RULE_ON(host, DSM_RULE_TWO_NUMBERS) && stamp > host->seen) host->seen = stamp;
    while (host->stamping.head) {
        const struct dsm_job *job = dsm_at(host, host->stamping.head);
        if (job->stamped > host->stamped) break;
        dsm_queue_push(host, &host->ready, dsm_queue_pop(host, &host->stamping));
    }
}

/* ---- requests and progress --------------------------------------------------------------- */

void dsm_publish_then(struct dsm_host *host, dsm_ref job) {
    if (host->publish == DSM_IDLE && !host->ndirty && !host->nowed) {
        finish(host, job);
        return;
    }
    dsm_queue_push(host, &host->next_jobs, job);
    if (host->publish == DSM_IDLE) start(host, host->ndirty);
}

int dsm_publish_request(struct dsm_host *host, const struct dsm_event *event) {
    bool overlaps = host->publish != DSM_IDLE || host->stamped < host->notices;
    if (!dsm_publish_busy(host) || (overlaps && !DSM_RULE_ON(host, DSM_RULE_OVERLAP))) {
        dsm_reply(host, event->req, DSM_ST_OK, dsm_publish_out(host));
        return DSM_OK;
    }
    dsm_publish_then(
        host, dsm_job_new(host, (struct dsm_job){.kind = DSM_JOB_PUBLISH, .req = event->req}));
    return DSM_OK;
}

void dsm_publish_tick(struct dsm_host *host) {
    if (host->publish != DSM_IDLE || (!host->ndirty && !host->nowed)) return;
    if (++host->stale_ticks >= 2) start(host, host->ndirty < DSM_SLICE ? host->ndirty : DSM_SLICE);
}

bool dsm_publish_go_on(struct dsm_host *host) {
    if (host->ncompared) return false; /* results of this step are still to come */
    if (host->nclaim) send_claim(host);
    if (host->publish == DSM_COMPARING && host->todo) {
        if (!host->more_asked) dsm_act(host->out, DSM_ACT_MORE);
        host->more_asked = 1;
        return false;
    }
    if (host->publish == DSM_COMPARING && !host->claims) host->publish = DSM_ACKING;
    if (host->publish == DSM_ACKING && !host->unacked) {
        announce(host);
        return true;
    }
    if (host->publish != DSM_IDLE || !host->next_jobs.head) return false;
    start(host, host->ndirty);
    return true;
}
