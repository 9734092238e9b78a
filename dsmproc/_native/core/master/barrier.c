/* Barriers of n parties (processes, not hosts), as threading.Barrier behaves.
 *
 *   FILLING ──the last party comes──► (ACTION ──its BAR_DONE──►) all are let go, FILLING again
 *      └──abort, a party gives up or dies──► BROKEN ──reset──► FILLING
 *
 * A party's host is lost while it computes between two rounds, too: it is a host that has waited
 * here.
 *
 * While the action runs, parties of the next round wait in `later`; giving up then is ignored,
 * for the round is complete.
 */
#include "core/master/master.h"

enum { FILLING = 0, ACTION, BROKEN };

/* The value of a cancelled wait; 0 if it never came here, and then nothing was broken by it. */
enum { ARRIVED = 1, LATER = 2 };

static struct dsm_object *barrier_of(struct dsm_master *master, const struct dsm_call *call) {
    struct dsm_object *barrier = dsm_object_find(master, call->id, DSM_OBJ_BARRIER);
    if (barrier) return barrier;
    barrier = dsm_object_make(master, call->id, DSM_OBJ_BARRIER);
    if (barrier) barrier->bound = call->a;
    return barrier;
}

static void let_go(struct dsm_master *master, struct dsm_queue *queue) {
    struct dsm_asker party;
    while (dsm_asker_pop(master, queue, &party))
        dsm_tell_ret(master, party.host, party.req, DSM_ST_OK, party.flag);
}

static void send_off(struct dsm_master *master, struct dsm_queue *queue, uint64_t cause) {
    struct dsm_asker party;
    while (dsm_asker_pop(master, queue, &party))
        dsm_tell_ret(master, party.host, party.req, DSM_ST_BROKEN, cause);
}

static void break_it(struct dsm_master *master, struct dsm_object *barrier, uint32_t why,
                     uint32_t host) {
    barrier->state = BROKEN;
    barrier->value = 0;
    barrier->cause = (uint64_t)why << 16 | host;
    send_off(master, &barrier->waiting, barrier->cause);
    send_off(master, &barrier->later, barrier->cause);
}

static void come(struct dsm_master *master, struct dsm_object *barrier, uint32_t host, uint64_t req,
                 bool action) {
    uint32_t index = (uint32_t)barrier->value++;
    if (barrier->value < barrier->bound) {
        struct dsm_asker party = {.host = host, .req = req, .flag = index};
        dsm_asker_push(master, &barrier->waiting, party);
    } else if (action) {
        barrier->state = ACTION;
        barrier->holder = host;
        dsm_tell_ret(master, host, req, DSM_ST_ACTION, index);
    } else {
        barrier->value = 0;
        let_go(master, &barrier->waiting);
        dsm_tell_ret(master, host, req, DSM_ST_OK, index);
    }
}

static void wait(struct dsm_master *master, struct dsm_object *barrier,
                 const struct dsm_call *call) {
    dsm_hosts_set(barrier->came, call->host, true);
    if (barrier->state == BROKEN) {
        dsm_tell_ret(master, call->host, call->req, DSM_ST_BROKEN, barrier->cause);
    } else if (barrier->state == ACTION) {
        struct dsm_asker party = {.host = call->host, .req = call->req, .flag = call->b != 0};
        dsm_asker_push(master, &barrier->later, party);
    } else {
        come(master, barrier, call->host, call->req, call->b != 0);
    }
}

static void action_done(struct dsm_master *master, struct dsm_object *barrier) {
    if (barrier->state != ACTION) return;
    barrier->state = FILLING;
    barrier->value = 0;
    let_go(master, &barrier->waiting);
    struct dsm_asker party;
    while (barrier->state == FILLING && dsm_asker_pop(master, &barrier->later, &party))
        come(master, barrier, party.host, party.req, party.flag);
}

static void reset(struct dsm_master *master, struct dsm_object *barrier, uint32_t host) {
    struct dsm_queue waiting = barrier->waiting, later = barrier->later;
    barrier->waiting = barrier->later = (struct dsm_queue){0};
    barrier->state = FILLING;
    barrier->value = 0;
    dsm_hosts_clear(barrier->came);
    uint64_t cause = (uint64_t)DSM_BROKE_RESET << 16 | host;
    send_off(master, &waiting, cause);
    send_off(master, &later, cause);
}

int dsm_barrier_call(struct dsm_master *master, const struct dsm_call *call) {
    if (call->a == 0 || call->a > UINT32_MAX) return DSM_E_PEER;
    struct dsm_object *barrier = barrier_of(master, call);
    uint64_t value = 0;
    if (!barrier) return DSM_E_PEER;
    switch (call->op) {
    case DSM_CALL_BAR_WAIT:
        wait(master, barrier, call);
        return DSM_OK;
    case DSM_CALL_BAR_DONE:
        action_done(master, barrier);
        break;
    case DSM_CALL_BAR_ABORT:
        break_it(master, barrier, DSM_BROKE_ABORT, call->host);
        break;
    case DSM_CALL_BAR_RESET:
        reset(master, barrier, call->host);
        break;
    default:
        value = barrier->value | (uint64_t)(barrier->state == BROKEN) << 32;
        break;
    }
    dsm_tell_ret(master, call->host, call->req, DSM_ST_OK, value);
    return DSM_OK;
}

void dsm_barrier_cancel(struct dsm_master *master, struct dsm_object *barrier, uint32_t host,
                        uint64_t req) {
    if (dsm_asker_take(master, &barrier->later, host, req)) {
        dsm_tell_ret(master, host, req, DSM_ST_CANCELLED, LATER);
    } else if (barrier->state == FILLING && dsm_asker_take(master, &barrier->waiting, host, req)) {
        dsm_tell_ret(master, host, req, DSM_ST_CANCELLED, ARRIVED);
        break_it(master, barrier, DSM_BROKE_LEFT, host);
    }
}

void dsm_barrier_host_lost(struct dsm_master *master, struct dsm_object *barrier, uint32_t host) {
    bool came = dsm_hosts_has(barrier->came, host);
    dsm_hosts_set(barrier->came, host, false);
    while (dsm_asker_take(master, &barrier->waiting, host, 0) ||
           dsm_asker_take(master, &barrier->later, host, 0))
        ;
    if (came && barrier->state != BROKEN) break_it(master, barrier, DSM_BROKE_LOST, host);
}
