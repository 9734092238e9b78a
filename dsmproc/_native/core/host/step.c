/* A host's step: which function serves which event and message, and what goes on when what it
 * waited for is done: a publish (go_on), the notices before it (pass). No decisions of its own.
 */
#include "core/host/host.h"

#include <assert.h>

#define KNOWN_STATUS(status) ((status) <= DSM_ST_HOST_LOST)

static bool is_power_of_two(uint32_t n) {
    return n && !(n & (n - 1));
}

struct dsm_host *dsm_host_init(void *arena, uint64_t bytes, const struct dsm_config *config) {
    struct dsm_host *host = arena;
    if (bytes < sizeof *host + 2 * DSM_ARENA_RESERVE) return NULL;
    if (!is_power_of_two(config->page_size) || config->page_size < 16 ||
        config->page_size > 32768 || !is_power_of_two(config->run) || config->run > DSM_CHUNK ||
        config->most > DSM_CHUNK || config->host >= DSM_MAX_HOSTS)
        return NULL;
    dsm_arena_init(&host->arena, bytes, sizeof *host);
    host->config = *config;
    if (!host->config.most) host->config.most = 1;
    return host;
}

/* ---- requests ---------------------------------------------------------------------------- */

static int cancel(struct dsm_host *host, uint64_t req) {
    dsm_ref ref = dsm_map_get(&host->arena, &host->requests, req);
    if (!ref) return DSM_OK; /* its answer is on the way */
    struct dsm_job *job = dsm_at(host, ref);
    if (job->kind == DSM_JOB_LOCK) {
        dsm_lock_cancel(host, ref);
    } else if (job->kind == DSM_JOB_CALL) {
        dsm_call_cancel(host, ref);
    } else { /* the job stays where it is and answers nobody */
        job->cancelled = 1;
        dsm_map_drop(&host->arena, &host->requests, req);
        dsm_reply(host, req, DSM_ST_CANCELLED, 0);
    }
    return DSM_OK;
}

/* ---- messages ---------------------------------------------------------------------------- */

static int from_peer(struct dsm_host *host, uint32_t from, uint32_t type,
                     struct dsm_cursor *cursor) {
    switch (type) {
    case DSM_MSG_GET:
        return dsm_home_on_get(host, from, cursor);
    case DSM_MSG_PAGE:
        return dsm_page_on_page(host, from, cursor);
    case DSM_MSG_DIFF:
        return dsm_home_on_diff(host, from, cursor);
    case DSM_MSG_DACK:
        return dsm_flush_on_dack(host, from, cursor);
    case DSM_MSG_MOVED:
        return dsm_page_on_moved(host, cursor);
    case DSM_MSG_WANT:
        return dsm_keep_on_want(host, from, cursor);
    case DSM_MSG_DIFFS:
        return dsm_homeless_on_diffs(host, from, cursor);
    case DSM_MSG_WANT_BASE:
        return dsm_keep_on_want_base(host, from, cursor);
    case DSM_MSG_BASE:
        return dsm_homeless_on_base(host, from, cursor);
    case DSM_MSG_COLLECT:
        return dsm_collect_on_collect(host, from, cursor);
    case DSM_MSG_COLLECTED:
        return dsm_collect_on_collected(host, from, cursor);
    case DSM_MSG_BYE:
        return dsm_leave_on_bye(host, from, cursor);
    case DSM_MSG_ELSEWHERE:
        return dsm_flush_on_elsewhere(host, cursor);
    case DSM_MSG_TAKE:
        return dsm_move_on_take(host, from, cursor);
    case DSM_MSG_TAKEN:
        return dsm_move_on_taken(host, from, cursor);
    case DSM_MSG_HAND:
        return dsm_move_on_hand(host, from, cursor);
    case DSM_MSG_HANDED:
        return dsm_move_on_handed(host, from, cursor);
    case DSM_MSG_COPY:
        return dsm_single_on_copy(host, cursor);
    default:
        return DSM_E_PEER;
    }
}

/* A word of the master that must wait for the notices before it. */
static int gated(struct dsm_host *host, const struct dsm_cursor *cursor, struct dsm_job job) {
    if (!dsm_cursor_done(cursor) || !KNOWN_STATUS(job.status)) return DSM_E_PEER;
    dsm_observe_gate(host, job);
    return DSM_OK;
}

static int on_ret(struct dsm_host *host, struct dsm_cursor *cursor) {
    struct dsm_job job = {.kind = DSM_JOB_RET};
    job.req = dsm_get64(cursor);
    job.status = dsm_get8(cursor);
    job.arg = dsm_get64(cursor);
    return gated(host, cursor, job);
}

static int on_unlock(struct dsm_host *host, struct dsm_cursor *cursor) {
    struct dsm_job job = {.kind = DSM_JOB_UNLOCK};
    job.id = dsm_get64(cursor);
    job.client = dsm_get16(cursor); /* the host that asks */
    job.req = dsm_get64(cursor);
    return gated(host, cursor, job);
}

static int on_recall(struct dsm_host *host, struct dsm_cursor *cursor) {
    struct dsm_job job = {.kind = DSM_JOB_RECALL};
    job.id = dsm_get64(cursor);
    job.try = dsm_get8(cursor);
    job.client = dsm_get16(cursor); /* the host that tries */
    return job.id ? gated(host, cursor, job) : DSM_E_PEER;
}

static int from_master(struct dsm_host *host, uint32_t type, struct dsm_cursor *cursor) {
    struct dsm_job job = {0};
    switch (type) {
    case DSM_MSG_NOTICES:
        return dsm_observe_on_notices(host, cursor);
    case DSM_MSG_WRITERS:
        return dsm_homeless_on_writers(host, cursor);
    case DSM_MSG_UPDATES:
        return dsm_bound_on_updates(host, cursor);
    case DSM_MSG_CLAIMED:
        return dsm_publish_on_claimed(host, cursor);
    case DSM_MSG_REGION:
        return dsm_region_on_region(host, cursor);
    case DSM_MSG_DROP:
        return dsm_region_on_drop(host, cursor);
    case DSM_MSG_ASK:
        return dsm_recover_on_ask(host, cursor);
    case DSM_MSG_FOUND:
        return dsm_recover_on_found(host, cursor);
    case DSM_MSG_INV:
        return dsm_single_on_inv(host, cursor);
    case DSM_MSG_GIVE:
        return dsm_single_on_give(host, cursor);
    case DSM_MSG_OWN:
        return dsm_single_on_own(host, cursor);
    case DSM_MSG_CUT:
        return dsm_recover_on_cut(host, cursor);
    case DSM_MSG_STRANDED:
        return dsm_single_on_stranded(host, cursor);
    case DSM_MSG_NONE:
        return dsm_single_on_none(host, cursor);
    case DSM_MSG_RECALL:
        return on_recall(host, cursor);
    case DSM_MSG_RET:
        return on_ret(host, cursor);
    case DSM_MSG_UNLOCK:
        return on_unlock(host, cursor);
    case DSM_MSG_PUBLISHED:
        job.kind = DSM_JOB_STAMPED;
        job.arg = dsm_get64(cursor);
        return gated(host, cursor, job);
    case DSM_MSG_OBSERVED:
        job.kind = DSM_JOB_OBSERVED;
        return gated(host, cursor, job);
    case DSM_MSG_TOLD:
        job.kind = DSM_JOB_TOLD;
        job.arg = dsm_get64(cursor);
        return gated(host, cursor, job);
    case DSM_MSG_OWNER_DIED:
        job.kind = DSM_JOB_OWNER_DIED;
        job.id = dsm_get64(cursor);
        return dsm_get8(cursor) == 1 ? gated(host, cursor, job) : DSM_E_PEER;
    case DSM_MSG_GRANT:
        job.kind = DSM_JOB_GRANT;
        job.id = dsm_get64(cursor);
        job.arg = dsm_get64(cursor);
        return gated(host, cursor, job);
    case DSM_MSG_TRY_FAILED:
        job.kind = DSM_JOB_TRY_FAILED;
        job.id = dsm_get64(cursor);
        return gated(host, cursor, job);
    default:
        return DSM_E_PEER;
    }
}

static int on_message(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_cursor cursor = {.at = event->bytes, .end = event->bytes + event->len};
    uint32_t type = dsm_get8(&cursor);
    if (event->host == DSM_MASTER) return from_master(host, type, &cursor);
    if (event->host >= DSM_MAX_HOSTS || event->host == host->config.host) return DSM_E_EVENT;
    if (event->client > DSM_BULK) return DSM_E_EVENT;
    if (dsm_is_lost(host, event->host) && DSM_RULE_ON(host, DSM_RULE_CUT)) return DSM_OK;
    if (host->leave.state == DSM_GONE && type != DSM_MSG_BYE)
        return DSM_OK; /* what is asked here will be asked elsewhere */
    return from_peer(host, event->host, type, &cursor);
}

/* ---- what waited goes on ----------------------------------------------------------------- */

/* All written before is announced (or nothing was): what was waiting for it may go. */
static void go_on(struct dsm_host *host, dsm_ref ref) {
    const struct dsm_job *job = dsm_at(host, ref);
    switch (job->kind) {
    case DSM_JOB_PUBLISH:
        dsm_job_reply(host, ref, DSM_ST_OK, dsm_publish_out(host));
        break;
    case DSM_JOB_OPEN:
        dsm_lock_take(host, job->id);
        dsm_job_free(host, ref);
        break;
    case DSM_JOB_CLOSE:
        dsm_lock_release(host, ref);
        break;
    case DSM_JOB_CUT:
        dsm_recover_is_cut(host, job->client);
        dsm_job_free(host, ref);
        break;
    case DSM_JOB_RETURN:
        dsm_lock_leave(host, job->id);
        dsm_job_free(host, ref);
        break;
    case DSM_JOB_CALL:
        dsm_call_send(host, ref);
        break;
    default:
        dsm_job_free(host, ref);
        break;
    }
}

/* What one of them makes ready comes before the next. */
static void do_ready(struct dsm_host *host) {
    struct dsm_queue ready = host->ready;
    host->ready = (struct dsm_queue){0};
    for (dsm_ref ref; (ref = dsm_queue_pop(host, &ready));) {
        go_on(host, ref);
        do_ready(host);
    }
}

/* Past the gate: the notices that came before it are done. */
static void pass(struct dsm_host *host, const struct dsm_job *job) {
    switch (job->kind) {
    case DSM_JOB_SEEN:
        dsm_observe_seen(host, job->arg);
        break;
    case DSM_JOB_STAMPED:
        dsm_publish_stamped(host, job->arg);
        break;
    case DSM_JOB_OBSERVED:
        dsm_observe_observed(host);
        break;
    case DSM_JOB_OWNER_DIED:
        dsm_lock_owner_died(host, job->id);
        break;
    case DSM_JOB_GRANT:
        dsm_lock_granted(host, job);
        break;
    case DSM_JOB_RECALL:
        dsm_lock_recalled(host, job);
        break;
    case DSM_JOB_TRY_FAILED:
        dsm_lock_try_failed(host, job->id);
        break;
    case DSM_JOB_UNLOCK:
        dsm_lock_unlock_here(host, job);
        break;
    case DSM_JOB_TOLD:
        dsm_observe_told(host, job->arg);
        break;
    default:
        dsm_call_returned(host, job);
        break;
    }
}

static void open_gate(struct dsm_host *host) {
    for (struct dsm_job job; dsm_observe_pass(host, &job);) {
        pass(host, &job);
        do_ready(host);
    }
}

static void publish(struct dsm_host *host) {
    while (dsm_publish_go_on(host))
        do_ready(host);
}

/* The event is served: whatever can be done now. */
static void settle(struct dsm_host *host) {
    do_ready(host);
    open_gate(host);
    publish(host);
    dsm_collect_go_on(host);
    if (host->leave.state == DSM_LEAVES) {
        dsm_leave_go_on(host);
        do_ready(host);
        publish(host);
    }
    if (host->nseek) dsm_page_seek_send(host);
}

/* ---- the step ---------------------------------------------------------------------------- */

static int host_lost(struct dsm_host *host, uint32_t who) {
    if (who >= DSM_MAX_HOSTS || who == host->config.host) return DSM_E_EVENT;
    dsm_recover_host_lost(host, who);
    return DSM_OK;
}

static void tick(struct dsm_host *host) {
    dsm_observe_tick(host);
    dsm_publish_tick(host);
}

static int fault(struct dsm_host *host, const struct dsm_event *event, bool write) {
    struct dsm_page *page = dsm_page_find(host, event->id);
    if (!page || event->client >= DSM_MAX_CLIENTS) return DSM_E_EVENT;
    dsm_count(host, write ? DSM_COUNT_WRITE_FAULTS : DSM_COUNT_READ_FAULTS, 1);
    if (host->config.model == DSM_SC) {
        dsm_single_fault(host, page, event->client, write);
        return DSM_OK;
    }
    dsm_page_fault(host, page, event->client, write);
    if (host->config.ahead) dsm_ahead_ask(host, dsm_at(host, page->region));
    return DSM_OK;
}

static int serve(struct dsm_host *host, const struct dsm_event *event) {
    switch (event->kind) {
    case DSM_EV_MESSAGE:
        return on_message(host, event);
    case DSM_EV_READ_FAULT:
        return fault(host, event, false);
    case DSM_EV_WRITE_FAULT:
        return fault(host, event, true);
    case DSM_EV_DIFFED:
        return dsm_flush_diffed(host, event);
    case DSM_EV_WORDED:
        return dsm_lock_worded(host, event);
    case DSM_EV_MORE:
        dsm_publish_slice(host);
        dsm_single_held(host);
        return DSM_OK;
    case DSM_EV_TICK:
        tick(host);
        return DSM_OK;
    case DSM_EV_PUBLISH:
        return dsm_publish_request(host, event);
    case DSM_EV_OBSERVE:
        return dsm_observe_request(host, event);
    case DSM_EV_ATTACH:
        return dsm_region_attach(host, event);
    case DSM_EV_DETACH:
        return dsm_region_detach(host, event);
    case DSM_EV_CLIENT_GONE:
        return DSM_OK; /* a waiter that is gone is ignored by MAP */
    case DSM_EV_HOST_LOST:
        return host_lost(host, event->host);
    case DSM_EV_CANCEL:
        return cancel(host, event->req);
    case DSM_EV_LOCK_OPEN:
        return dsm_lock_open(host, event);
    case DSM_EV_LOCK:
        return dsm_lock_acquire(host, event);
    case DSM_EV_UNLOCK:
        return dsm_lock_unlock(host, event);
    case DSM_EV_CONSISTENT:
        return dsm_lock_consistent(host, event);
    case DSM_EV_CALL:
        return dsm_call_request(host, event);
    case DSM_EV_EVICT:
        return dsm_evict_pages(host, event);
    case DSM_EV_BIND:
        return dsm_bound_bind(host, event);
    case DSM_EV_HAND:
        return dsm_move_hand(host, event);
    case DSM_EV_LEAVE:
        return dsm_leave_start(host, event);
    default:
        return DSM_E_EVENT;
    }
}

int dsm_host_step(struct dsm_host *host, const struct dsm_event *event, struct dsm_out *out) {
    out->nactions = out->nbytes = 0;
    if (!dsm_arena_room(&host->arena, 0)) return DSM_E_MEMORY;
    host->out = out;
    host->event = event;
    host->row = NULL;
    int status = serve(host, event);
    if (status == DSM_OK) settle(host);
    host->out = NULL;
    host->event = NULL;
    host->row = NULL;
    return status;
}

void dsm_host_summary(const struct dsm_host *host, struct dsm_summary *summary) {
    summary->seen = host->seen;
    summary->out = dsm_publish_out(host);
    summary->busy = dsm_publish_busy(host);
    summary->waiting = host->requests.count;
}
