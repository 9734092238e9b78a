/* Locks at the master: where the token is, and which hosts wait for it.
 *
 * Each host waits at most once. The holder hears of waiters by RECALL: once for those that wait
 * (`recalled`), and once for each that only tries, which the holder answers by returning the token
 * or by TRY_HELD. A RETURN serves the queue in order, tries included.
 *
 * A lock whose token was at a host that is lost is `died` (host/lock.c), held or not: what was
 * written there under it since the token came has perhaps been announced in part. Not so at a host
 * that has left.
 */
#include "core/master/master.h"

static void send_lock(struct dsm_master *master, uint32_t to, uint32_t type, uint64_t id) {
    uint32_t message = dsm_send(master->out, to, DSM_FAST, type);
    dsm_put64(master->out, id);
    dsm_sent(master->out, message, 0);
}

static void recall(struct dsm_master *master, const struct dsm_object *lock, bool try,
                   uint32_t asker) {
    if (!dsm_hosts_has(master->joined, lock->holder)) return; /* it passes on soon (cut.c) */
    uint32_t message = dsm_send(master->out, lock->holder, DSM_FAST, DSM_MSG_RECALL);
    dsm_put64(master->out, lock->id);
    dsm_put8(master->out, try);
    dsm_put16(master->out, asker);
    dsm_sent(master->out, message, 0);
}

/* Tell the holder of those who wait that it has not heard of. */
static void recall_for_all(struct dsm_master *master, struct dsm_object *lock) {
    for (dsm_ref at = lock->waiting.head; at; at = dsm_next(master, at)) {
        const struct dsm_asker *asker = dsm_at(master, at);
        if (asker->flag) {
            recall(master, lock, true, asker->host);
        } else if (!lock->recalled) {
            recall(master, lock, false, asker->host);
            lock->recalled = 1;
        }
    }
}

static void tell_died(struct dsm_master *master, const struct dsm_object *lock) {
    uint32_t message = dsm_send(master->out, lock->holder, DSM_FAST, DSM_MSG_OWNER_DIED);
    dsm_put64(master->out, lock->id);
    dsm_put8(master->out, 1);
    dsm_sent(master->out, message, 0);
}

/* The token is at the master: pass it on. */
static void pass_on(struct dsm_master *master, struct dsm_object *lock) {
    struct dsm_asker next;
    lock->holder = DSM_NO_HOST;
    lock->recalled = 0;
    if (!dsm_asker_pop(master, &lock->waiting, &next)) return;
    lock->holder = next.host;
    dsm_tell_grant(master, next.host, lock);
    if (lock->died && DSM_RULE_ON(master, DSM_RULE_OWNER_DIED)) tell_died(master, lock);
    uint32_t message = dsm_send(master->out, next.host, DSM_FAST, DSM_MSG_GRANT);
    dsm_put64(master->out, lock->id);
    dsm_put64(master->out, master->log);
    dsm_sent(master->out, message, 0);
    recall_for_all(master, lock);
}

static struct dsm_asker *asker_of(struct dsm_master *master, const struct dsm_object *lock,
                                  uint32_t host) {
    for (dsm_ref at = lock->waiting.head; at; at = dsm_next(master, at)) {
        struct dsm_asker *asker = dsm_at(master, at);
        if (asker->host == host) return asker;
    }
    return NULL;
}

int dsm_mlock_on_ask(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t try = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || !id || try > 1) return DSM_E_PEER;
    struct dsm_object *lock = dsm_object_lock(master, id);
    if (!lock) return DSM_E_PEER;
    struct dsm_asker *asker = asker_of(master, lock, from);
    /* Its token is on the way to it already, or a try becomes a wait. */
    if (lock->holder == from) return DSM_OK;
    if (asker)
        asker->flag = asker->flag && try;
    else
        dsm_asker_push(master, &lock->waiting, (struct dsm_asker){.host = from, .flag = try});
    if (lock->holder == DSM_NO_HOST)
        pass_on(master, lock);
    else if (try && !asker)
        recall(master, lock, true, from);
    else if (!try && !lock->recalled)
        recall_for_all(master, lock);
    return DSM_OK;
}

int dsm_mlock_on_return(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t want = dsm_get8(cursor);
    struct dsm_object *lock = dsm_object_find(master, id, DSM_OBJ_LOCK);
    if (!dsm_cursor_done(cursor) || !lock || lock->holder != from) return DSM_E_PEER;
    if (lock->open) return DSM_E_PEER;
    if (want) dsm_asker_push(master, &lock->waiting, (struct dsm_asker){.host = from});
    pass_on(master, lock);
    return DSM_OK;
}

int dsm_mlock_on_try_held(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t host = dsm_get16(cursor);
    struct dsm_object *lock = dsm_object_find(master, id, DSM_OBJ_LOCK);
    if (!dsm_cursor_done(cursor) || !lock || lock->holder != from) return DSM_E_PEER;
    const struct dsm_asker *asker = asker_of(master, lock, host);
    if (!asker) return DSM_OK;
    if (asker->flag) dsm_asker_take(master, &lock->waiting, host, 0);
    dsm_tell(master, host);
    send_lock(master, host, DSM_MSG_TRY_FAILED, id);
    return DSM_OK;
}

int dsm_mlock_on_owner_died(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t died = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || !id || died > 1) return DSM_E_PEER;
    struct dsm_object *lock = dsm_object_find(master, id, DSM_OBJ_LOCK);
    bool is_maker = id >> 48 == from; /* its token may never have left it */
    if (!lock && is_maker) lock = dsm_object_lock(master, id);
    if (!lock || lock->holder != from) return DSM_E_PEER;
    lock->died = (uint8_t)died;
    return DSM_OK;
}

int dsm_mlock_unlock(struct dsm_master *master, const struct dsm_call *call) {
    struct dsm_object *lock = dsm_object_lock(master, call->id);
    if (!lock) return DSM_E_PEER;
    if (lock->holder == DSM_NO_HOST || !dsm_hosts_has(master->joined, lock->holder)) {
        dsm_tell_ret(master, call->host, call->req, DSM_ST_TOO_OFTEN, 0);
        return DSM_OK;
    }
    dsm_scope_released(master, lock);
    dsm_tell(master, lock->holder);
    uint32_t message = dsm_send(master->out, lock->holder, DSM_FAST, DSM_MSG_UNLOCK);
    dsm_put64(master->out, call->id);
    dsm_put16(master->out, call->host);
    dsm_put64(master->out, call->req);
    dsm_sent(master->out, message, 0);
    return DSM_OK;
}

int dsm_mlock_on_unlocked(struct dsm_master *master, struct dsm_cursor *cursor) {
    uint32_t asker = dsm_get16(cursor);
    uint64_t req = dsm_get64(cursor);
    uint32_t status = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || status > DSM_ST_HOST_LOST || asker >= DSM_MAX_HOSTS)
        return DSM_E_PEER;
    if (dsm_hosts_has(master->joined, asker)) dsm_tell_ret(master, asker, req, status, 0);
    return DSM_OK;
}

bool dsm_mlock_host_lost(struct dsm_master *master, struct dsm_object *lock, uint32_t host) {
    if (lock->holder != host) return false;
    dsm_scope_close(master, lock);
    bool died = dsm_object_lost_with(master, lock, host);
    pass_on(master, lock);
    return died;
}
