/* Semaphores: permits counted at the master. Each acquire is told everything that was announced
 * before it, so it sees what every release before it did (litmus L10).
 *
 * Conditions are queues of those that sleep, and have no permits. Whoever ends, is lost, or gives
 * up is in no queue any more: a wake is for the living. */
#include "core/master/master.h"

enum { ASLEEP = 1 }; /* in asker->flag */

static struct dsm_object *semaphore_of(struct dsm_master *master, const struct dsm_call *call) {
    struct dsm_object *sem = dsm_object_find(master, call->id, DSM_OBJ_SEMAPHORE);
    if (sem) return sem;
    sem = dsm_object_make(master, call->id, DSM_OBJ_SEMAPHORE);
    if (!sem) return NULL;
    sem->value = call->a;
    sem->bound = call->b;
    return sem;
}

static void acquire(struct dsm_master *master, struct dsm_object *sem,
                    const struct dsm_call *call) {
    if (sem->value) {
        sem->value--;
        dsm_tell_ret(master, call->host, call->req, DSM_ST_OK, 0);
    } else if (call->c) {
        dsm_tell_ret(master, call->host, call->req, DSM_ST_BUSY, 0);
    } else {
        dsm_asker_push(master, &sem->waiting,
                       (struct dsm_asker){.host = call->host, .req = call->req});
    }
}

static void release(struct dsm_master *master, struct dsm_object *sem,
                    const struct dsm_call *call) {
    if (call->c > UINT32_MAX || (sem->bound && sem->value + call->c > sem->bound)) {
        dsm_tell_ret(master, call->host, call->req, DSM_ST_TOO_OFTEN, 0);
        return;
    }
    sem->value += call->c;
    struct dsm_asker next;
    while (sem->value && dsm_asker_pop(master, &sem->waiting, &next)) {
        sem->value--;
        dsm_tell_ret(master, next.host, next.req, DSM_ST_OK, 0);
    }
    dsm_tell_ret(master, call->host, call->req, DSM_ST_OK, 0);
}

static void go_to_sleep(struct dsm_master *master, struct dsm_object *sem,
                        const struct dsm_call *call) {
    dsm_asker_push(master, &sem->waiting,
                   (struct dsm_asker){.host = call->host, .req = call->req, .flag = ASLEEP});
}

static void wake(struct dsm_master *master, struct dsm_object *sem, const struct dsm_call *call) {
    struct dsm_asker next;
    for (uint64_t left = call->c; left && dsm_asker_pop(master, &sem->waiting, &next); left--)
        dsm_tell_ret(master, next.host, next.req, DSM_ST_OK, 0);
    dsm_tell_ret(master, call->host, call->req, DSM_ST_OK, 0);
}

static uint64_t value_of(const struct dsm_master *master, const struct dsm_object *sem) {
    uint64_t value = sem->value;
    for (dsm_ref at = sem->waiting.head; at; at = dsm_next(master, at))
        value += ((const struct dsm_asker *)dsm_at(master, at))->flag == ASLEEP;
    return value;
}

int dsm_semaphore_call(struct dsm_master *master, const struct dsm_call *call) {
    struct dsm_object *sem = semaphore_of(master, call);
    if (!sem) return DSM_E_PEER;
    if (call->op == DSM_CALL_SEM_ACQUIRE)
        acquire(master, sem, call);
    else if (call->op == DSM_CALL_SEM_RELEASE)
        release(master, sem, call);
    else if (call->op == DSM_CALL_SEM_SLEEP)
        go_to_sleep(master, sem, call);
    else if (call->op == DSM_CALL_SEM_WAKE)
        wake(master, sem, call);
    else
        dsm_tell_ret(master, call->host, call->req, DSM_ST_OK, value_of(master, sem));
    return DSM_OK;
}

void dsm_semaphore_cancel(struct dsm_master *master, struct dsm_object *sem, uint32_t host,
                          uint64_t req) {
    if (dsm_asker_take(master, &sem->waiting, host, req))
        dsm_tell_ret(master, host, req, DSM_ST_CANCELLED, 0);
}
