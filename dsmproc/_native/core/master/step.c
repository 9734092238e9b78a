/* The master's step: which function serves which event and message; and the objects' table. */
#include "core/master/master.h"

#include <assert.h>

struct dsm_master *dsm_master_init(void *arena, uint64_t bytes, const struct dsm_config *config) {
    struct dsm_master *master = arena;
    if (bytes < sizeof *master + 2 * DSM_ARENA_RESERVE) return NULL;
    dsm_arena_init(&master->arena, bytes, sizeof *master);
    master->config = *config;
    if (config->model == DSM_SCC) master->config.carry = 0; /* what is told twice must be names */
    return master;
}

/* ---- messages ---------------------------------------------------------------------------- */

static int on_leave(struct dsm_master *master, const struct dsm_call *call) {
    dsm_hosts_set(master->left, call->host, true);
    dsm_tell_ret(master, call->host, call->req, DSM_ST_OK, 0);
    return DSM_OK;
}

static int on_call(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    struct dsm_call call = {.host = from};
    call.req = dsm_get64(cursor);
    call.op = dsm_get8(cursor);
    call.id = dsm_get64(cursor);
    call.a = dsm_get64(cursor);
    call.b = dsm_get64(cursor);
    call.c = dsm_get64(cursor);
    if (!dsm_cursor_done(cursor) || !call.req || !call.id) return DSM_E_PEER;
    if (call.op >= DSM_CALL_SEM_ACQUIRE && call.op <= DSM_CALL_SEM_WAKE)
        return dsm_semaphore_call(master, &call);
    if (call.op >= DSM_CALL_BAR_WAIT && call.op <= DSM_CALL_BAR_STATE)
        return dsm_barrier_call(master, &call);
    if (call.op == DSM_CALL_LEAVE) return on_leave(master, &call);
    return call.op == DSM_CALL_UNLOCK ? dsm_mlock_unlock(master, &call) : DSM_E_PEER;
}

/* Whoever waits at the master is found by walking: giving up is rare. */
static int on_cancel(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t req = dsm_get64(cursor);
    if (!dsm_cursor_done(cursor) || !req) return DSM_E_PEER;
    for (dsm_ref at = master->object_list; at; at = dsm_next(master, at)) {
        struct dsm_object *object = dsm_at(master, at);
        if (object->kind == DSM_OBJ_SEMAPHORE) dsm_semaphore_cancel(master, object, from, req);
        if (object->kind == DSM_OBJ_BARRIER) dsm_barrier_cancel(master, object, from, req);
    }
    return DSM_OK;
}

static int on_observe(struct dsm_master *master, uint32_t from, const struct dsm_cursor *cursor) {
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    dsm_tell(master, from);
    dsm_sent(master->out, dsm_send(master->out, from, DSM_FAST, DSM_MSG_OBSERVED), 0);
    return DSM_OK;
}

static int on_message(struct dsm_master *master, const struct dsm_event *event) {
    struct dsm_cursor cursor = {.at = event->bytes, .end = event->bytes + event->len};
    uint32_t from = event->host, type = dsm_get8(&cursor);
    if (!dsm_hosts_has(master->joined, from)) return DSM_E_EVENT;
    switch (type) {
    case DSM_MSG_CLAIM:
        return dsm_mpublish_on_claim(master, from, &cursor);
    case DSM_MSG_NOTICE:
        return dsm_mpublish_on_notice(master, from, &cursor);
    case DSM_MSG_CHANGES:
        return dsm_mpublish_on_changes(master, from, &cursor);
    case DSM_MSG_BIND:
        return dsm_entry_on_bind(master, from, &cursor);
    case DSM_MSG_OBSERVE:
        return on_observe(master, from, &cursor);
    case DSM_MSG_ATTACH:
        return dsm_mregion_on_attach(master, from, &cursor);
    case DSM_MSG_DETACH:
        return dsm_mregion_on_detach(master, from, &cursor);
    case DSM_MSG_LOCK_ASK:
        return dsm_mlock_on_ask(master, from, &cursor);
    case DSM_MSG_RETURN:
        return dsm_mlock_on_return(master, from, &cursor);
    case DSM_MSG_TRY_HELD:
        return dsm_mlock_on_try_held(master, from, &cursor);
    case DSM_MSG_CALL:
        return on_call(master, from, &cursor);
    case DSM_MSG_CANCEL:
        return on_cancel(master, from, &cursor);
    case DSM_MSG_UNLOCKED:
        return dsm_mlock_on_unlocked(master, &cursor);
    case DSM_MSG_OWNER_DIED:
        return dsm_mlock_on_owner_died(master, from, &cursor);
    case DSM_MSG_SCOPE:
        return dsm_scope_on_scope(master, from, &cursor);
    case DSM_MSG_KNOWN:
        return dsm_eager_on_known(master, from, &cursor);
    case DSM_MSG_IS_CUT:
        return dsm_cut_on_is_cut(master, from, &cursor);
    case DSM_MSG_NEED:
        return dsm_msingle_on_need(master, from, &cursor);
    case DSM_MSG_DONE:
        return dsm_msingle_on_done(master, from, &cursor);
    case DSM_MSG_GONE:
        return dsm_msingle_on_gone(master, from, &cursor);
    case DSM_MSG_STILL:
        return dsm_msingle_on_still(master, from, &cursor);
    case DSM_MSG_WHERE:
        return dsm_mrecover_on_where(master, from, &cursor);
    case DSM_MSG_SAY:
        return dsm_mrecover_on_say(master, from, &cursor);
    default:
        return DSM_E_PEER;
    }
}

/* ---- the step ---------------------------------------------------------------------------- */

static int host_joined(struct dsm_master *master, uint32_t host) {
    if (host >= DSM_MAX_HOSTS || dsm_hosts_has(master->joined, host)) return DSM_E_EVENT;
    dsm_hosts_set(master->joined, host, true);
    master->told[host] = master->log;
    dsm_hosts_set(master->gone, host, false);
    dsm_hosts_set(master->left, host, false);
    dsm_mrecover_host_joined(master, host);
    return DSM_OK;
}

static int host_lost(struct dsm_master *master, uint32_t host) {
    if (!dsm_hosts_has(master->joined, host)) return DSM_E_EVENT;
    dsm_hosts_set(master->joined, host, false);
    dsm_hosts_set(master->gone, host, true);
    for (dsm_ref at = master->object_list; at; at = dsm_next(master, at)) {
        struct dsm_object *object = dsm_at(master, at);
        while (object->kind != DSM_OBJ_BARRIER && dsm_asker_take(master, &object->waiting, host, 0))
            continue;
    }
    dsm_cut_host_lost(master, host);
    dsm_eager_host_lost(master, host);
    dsm_msingle_host_left(master, host);
    dsm_mregion_host_lost(master, host);
    dsm_mrecover_host_lost(master, host);
    return DSM_OK;
}

static int serve(struct dsm_master *master, const struct dsm_event *event) {
    switch (event->kind) {
    case DSM_EV_MESSAGE:
        return on_message(master, event);
    case DSM_EV_HOST_JOINED:
        return host_joined(master, event->host);
    case DSM_EV_HOST_LOST:
        return host_lost(master, event->host);
    case DSM_EV_REGION_MADE:
        return dsm_mregion_made(master, event);
    case DSM_EV_REGION_UNLINK:
        return dsm_mregion_unlink(master, event);
    default:
        return DSM_E_EVENT;
    }
}

int dsm_master_step(struct dsm_master *master, const struct dsm_event *event, struct dsm_out *out) {
    out->nactions = out->nbytes = 0;
    if (!dsm_arena_room(&master->arena, 0)) return DSM_E_MEMORY;
    master->out = out;
    int status = serve(master, event);
    if (master->nfound) dsm_mrecover_tell(master);
    master->out = NULL;
    return status;
}

/* 1: recency is in falling order of stamps, none of them above the log. 2: nobody was told more
 * than there is. 3: a lock's holder does not wait for it. */
int dsm_master_check(const struct dsm_master *master) {
    uint64_t last = master->log;
    for (dsm_ref at = master->newest; at;) {
        const struct dsm_version *version = dsm_at(master, at);
        if (version->last > last || version->other > version->last) return 1;
        last = version->last;
        at = version->older;
    }
    for (uint32_t host = 0; host < DSM_MAX_HOSTS; host++)
        if (master->told[host] > master->log) return 2;
    for (dsm_ref at = master->object_list; at; at = dsm_next(master, at)) {
        const struct dsm_object *object = dsm_at(master, at);
        if (object->kind != DSM_OBJ_LOCK || object->holder == DSM_NO_HOST) continue;
        for (dsm_ref w = object->waiting.head; w; w = dsm_next(master, w))
            if (((const struct dsm_asker *)dsm_at(master, w))->host == object->holder) return 3;
    }
    return 0;
}
