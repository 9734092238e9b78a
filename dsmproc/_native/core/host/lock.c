/* Locks: a lock's token stays at the host that used it last.
 *
 * While the token is HERE, clients take and free the lock by compare-and-swap on its word in the
 * control segment; the core hears of it only when somebody must wait. To decide anything it first
 * takes the word (DSM_WORD_TAKE): either the lock was free and is now the core's, or it is held and
 * its release will come as DSM_EV_UNLOCK, which seizes the word (DSM_WORD_SEIZE).
 *
 *   ABSENT ──LOCK──► ASKED ──GRANT──► HERE ──recalled and free──► LEAVING ──published, RETURN──►
 *   ABSENT, or ASKED again if somebody here waits (the RETURN says so)
 *
 * The host that made a lock (the upper 16 bits of its id) has the token at first.
 * A lock has no owner: it may be released by any process of any host; where the token is not, the
 * release is published and goes by way of the master to the host that has it.
 *
 * A lock whose taker died is free again, and `died`: what it guards may be half-written. It stays
 * so, whoever takes and releases it, until a holder says CONSISTENT. The master is told when it
 * begins and when it ends, and tells every host before it grants it the token; so the host that has
 * the token knows, and shows it beside the word. The master adds that a host which had the token
 * was lost (master/lock.c).
 *
 * Under scc and erc the core must hear of every take and release: the word of a free lock is
 * ABSENT, that of a held one HELD_WANTED. What was written before a lock is taken (scc) or released
 * is announced first; the lock is `busy` meanwhile, and its word the core's.
 */
#include <assert.h>

#include "core/host/host.h"

enum why { FOR_LOCK = 1, FOR_RECALL, FOR_TRY, FOR_UNLOCK, FOR_UNLOCK_FAR };

static struct dsm_lock *lock_of(struct dsm_host *host, uint64_t id) {
    dsm_ref ref = dsm_map_get(&host->arena, &host->locks, id);
    return ref ? dsm_at(host, ref) : NULL;
}

static struct dsm_action *set_word(struct dsm_host *host, const struct dsm_lock *lock,
                                   uint32_t word, uint32_t client) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_WORD);
    action->id = lock->id;
    action->flag = word;
    action->client = client;
    return action;
}

static bool hears_all(const struct dsm_host *host) {
    return host->config.model == DSM_SCC || host->config.model == DSM_ERC;
}

static struct dsm_lock *open_lock(struct dsm_host *host, uint64_t id) {
    struct dsm_lock *lock = lock_of(host, id);
    if (lock) return lock;
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof *lock);
    lock = dsm_at(host, ref);
    lock->id = id;
    dsm_map_put(&host->arena, &host->locks, id, ref);
    bool here = id >> 48 == host->config.host;
    lock->token = here ? DSM_TOKEN_HERE : DSM_TOKEN_ABSENT;
    set_word(host, lock, here && !hears_all(host) ? DSM_WORD_FREE : DSM_WORD_ABSENT, 0);
    return lock;
}

static void take_word(struct dsm_host *host, const struct dsm_lock *lock, enum why why) {
    assert(lock->token == DSM_TOKEN_HERE && !host->word_lock);
    host->word_lock = lock->id;
    host->word_why = why;
    bool unlock = why == FOR_UNLOCK || why == FOR_UNLOCK_FAR;
    struct dsm_action *action = set_word(host, lock, unlock ? DSM_WORD_SEIZE : DSM_WORD_TAKE, 0);
    if (why == FOR_UNLOCK) action->arg = host->word_job.arg;
}

static void set_died(struct dsm_host *host, struct dsm_lock *lock, bool died) {
    if (lock->died == died) return;
    lock->died = died;
    set_word(host, lock, died ? DSM_WORD_DIED : DSM_WORD_CONSISTENT, 0);
}

static void tell_died(struct dsm_host *host, const struct dsm_lock *lock) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_OWNER_DIED);
    dsm_put64(host->out, lock->id);
    dsm_put8(host->out, lock->died);
    dsm_sent(host->out, message, 0);
}

static void ask(struct dsm_host *host, struct dsm_lock *lock, bool try) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_LOCK_ASK);
    dsm_put64(host->out, lock->id);
    dsm_put8(host->out, try);
    dsm_sent(host->out, message, 0);
    lock->token = DSM_TOKEN_ASKED;
    if (!try) lock->asked_blocking = 1;
}

/* To the first that waits. */
static void hand_over(struct dsm_host *host, struct dsm_lock *lock) {
    dsm_ref ref = dsm_queue_pop(host, &lock->waiters);
    const struct dsm_job *job = dsm_at(host, ref);
    bool wanted = lock->waiters.head || lock->recalled || hears_all(host);
    if (lock->recalled) lock->grants++;
    set_word(host, lock, wanted ? DSM_WORD_WANTED : DSM_WORD_HELD, job->client);
    dsm_job_reply(host, ref, DSM_ST_OK, 0);
}

/* The token is here, the lock is free, and its word is the core's: who is next? */
static void dispatch(struct dsm_host *host, struct dsm_lock *lock) {
    bool waited = lock->waiters.head != 0;
    if (lock->recalled && (!waited || lock->grants >= host->config.grants)) {
        lock->token = DSM_TOKEN_LEAVING;
        dsm_publish_then(
            host, dsm_job_new(host, (struct dsm_job){.kind = DSM_JOB_RETURN, .id = lock->id}));
        return;
    }
    if (!waited) {
        if (!hears_all(host)) set_word(host, lock, DSM_WORD_FREE, 0);
    } else if (host->config.model == DSM_SCC) {
        lock->busy = 1;
        dsm_publish_then(host,
                         dsm_job_new(host, (struct dsm_job){.kind = DSM_JOB_OPEN, .id = lock->id}));
    } else {
        hand_over(host, lock);
    }
}

static void send_scope(struct dsm_host *host, uint64_t id, bool open) {
    if (host->config.model != DSM_SCC) return;
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_SCOPE);
    dsm_put64(host->out, id);
    dsm_put8(host->out, open);
    dsm_sent(host->out, message, 0);
}

void dsm_lock_take(struct dsm_host *host, uint64_t id) {
    struct dsm_lock *lock = lock_of(host, id);
    lock->busy = 0;
    if (lock->waiters.head) {
        send_scope(host, id, true);
        hand_over(host, lock);
    } else { /* they have given up */
        dispatch(host, lock);
    }
}

/* The lock is held: those that would not wait are told. */
static void refuse_tries(struct dsm_host *host, struct dsm_lock *lock) {
    struct dsm_queue left = {0};
    for (dsm_ref ref; (ref = dsm_queue_pop(host, &lock->waiters));) {
        const struct dsm_job *job = dsm_at(host, ref);
        if (job->try)
            dsm_job_reply(host, ref, DSM_ST_BUSY, 0);
        else
            dsm_queue_push(host, &left, ref);
    }
    lock->waiters = left;
}

int dsm_lock_open(struct dsm_host *host, const struct dsm_event *event) {
    if (!event->id) return DSM_E_EVENT;
    open_lock(host, event->id);
    return DSM_OK;
}

int dsm_lock_acquire(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_lock *lock = lock_of(host, event->id);
    bool try = event->arg == 1;
    if (!lock) return DSM_E_EVENT;
    /* Where others wait already or the token is on its way out, it is as good as held. */
    if (try && (lock->token == DSM_TOKEN_LEAVING || lock->busy ||
                (lock->token == DSM_TOKEN_ASKED && lock->asked_blocking))) {
        dsm_reply(host, event->req, DSM_ST_BUSY, 0);
        return DSM_OK;
    }
    struct dsm_job job = {.kind = DSM_JOB_LOCK, .req = event->req, .client = event->client};
    job.id = event->id;
    job.try = try;
    dsm_queue_push(host, &lock->waiters, dsm_job_new(host, job));
    if (lock->busy) return DSM_OK; /* its turn comes */
    if (lock->token == DSM_TOKEN_HERE)
        take_word(host, lock, FOR_LOCK);
    else if (lock->token == DSM_TOKEN_ABSENT)
        ask(host, lock, try);
    else if (lock->token == DSM_TOKEN_ASKED && !try && !lock->asked_blocking)
        ask(host, lock, false);
    return DSM_OK;
}

static void send_try_held(struct dsm_host *host, const struct dsm_lock *lock) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_TRY_HELD);
    dsm_put64(host->out, lock->id);
    dsm_put16(host->out, lock->try_asker);
    dsm_sent(host->out, message, 0);
}

/* A release that another host's process asked for by its request `req`. */
static void send_unlocked(struct dsm_host *host, uint32_t asker, uint64_t req, uint32_t status) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_UNLOCKED);
    dsm_put16(host->out, asker);
    dsm_put64(host->out, req);
    dsm_put8(host->out, status);
    dsm_sent(host->out, message, 0);
}

static void answer_unlock(struct dsm_host *host, uint32_t why, uint32_t status) {
    const struct dsm_job *job = &host->word_job;
    if (why == FOR_UNLOCK)
        dsm_reply(host, job->req, status, 0);
    else
        send_unlocked(host, job->client, job->req, status);
}

/* What was written under the lock is announced before the lock is free. */
static void begin_release(struct dsm_host *host, struct dsm_lock *lock, uint32_t why) {
    struct dsm_job job = {.kind = DSM_JOB_CLOSE, .op = (uint8_t)why, .id = lock->id};
    job.client = host->word_job.client;
    job.a = host->word_job.req;
    if (why == FOR_UNLOCK) job.req = job.a; /* the other is a request of another host */
    lock->busy = 1;
    dsm_publish_then(host, dsm_job_new(host, job));
}

void dsm_lock_release(struct dsm_host *host, dsm_ref ref) {
    const struct dsm_job *job = dsm_at(host, ref);
    struct dsm_lock *lock = lock_of(host, job->id);
    send_scope(host, job->id, false);
    lock->busy = 0; /* word_job may be another lock's by now */
    if (job->op == FOR_UNLOCK) {
        dsm_job_reply(host, ref, DSM_ST_OK, 0);
    } else {
        send_unlocked(host, job->client, job->a, DSM_ST_OK);
        dsm_job_free(host, ref);
    }
    dispatch(host, lock);
}

int dsm_lock_worded(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_lock *lock = lock_of(host, event->id);
    if (!lock || host->word_lock != event->id) return DSM_E_EVENT;
    uint32_t why = host->word_why;
    bool ours = event->arg == 1;
    host->word_lock = 0;
    if (ours && why == FOR_UNLOCK && host->word_job.arg) {
        set_died(host, lock, true);
        tell_died(host, lock);
    }
    if (ours && hears_all(host) && (why == FOR_UNLOCK || why == FOR_UNLOCK_FAR)) {
        begin_release(host, lock, why);
        return DSM_OK;
    }
    if (why == FOR_UNLOCK || why == FOR_UNLOCK_FAR)
        answer_unlock(host, why, ours ? DSM_ST_OK : DSM_ST_TOO_OFTEN);
    if (ours) {
        if (why == FOR_TRY) lock->recalled = 1;
        dispatch(host, lock);
    } else if (why == FOR_LOCK) {
        refuse_tries(host, lock);
    } else if (why == FOR_TRY) {
        send_try_held(host, lock);
    }
    return DSM_OK;
}

static void unlock_elsewhere(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_job job = {.kind = DSM_JOB_CALL, .op = DSM_CALL_UNLOCK, .req = event->req};
    job.id = event->id;
    dsm_publish_then(host, dsm_job_new(host, job));
}

int dsm_lock_unlock(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_lock *lock = lock_of(host, event->id);
    if (!lock) return DSM_E_EVENT;
    if (lock->token != DSM_TOKEN_HERE && event->arg) {
        dsm_reply(host, event->req, DSM_ST_TOO_OFTEN, 0); /* another has released it since */
        return DSM_OK;
    }
    if (lock->token != DSM_TOKEN_HERE) {
        unlock_elsewhere(host, event);
        return DSM_OK;
    }
    host->word_job = (struct dsm_job){.req = event->req, .arg = event->arg};
    take_word(host, lock, FOR_UNLOCK);
    return DSM_OK;
}

/* Only who holds it knows; where the token is not, nobody does. */
int dsm_lock_consistent(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_lock *lock = lock_of(host, event->id);
    if (!lock) return DSM_E_EVENT;
    if (lock->token == DSM_TOKEN_HERE && lock->died) {
        set_died(host, lock, false);
        tell_died(host, lock);
    }
    dsm_reply(host, event->req, DSM_ST_OK, 0);
    return DSM_OK;
}

/* ---- the master's words, past the gate
 * ---------------------------------------------------------------------------- */

void dsm_lock_recalled(struct dsm_host *host, const struct dsm_job *job) {
    struct dsm_lock *lock = open_lock(host, job->id);
    if (lock->token != DSM_TOKEN_HERE) return; /* it crossed our RETURN */
    if (!job->try) lock->recalled = 1;
    lock->try_asker = job->client;
    if (lock->busy) {
        if (job->try) send_try_held(host, lock);
        return;
    }
    take_word(host, lock, job->try ? FOR_TRY : FOR_RECALL);
}

void dsm_lock_owner_died(struct dsm_host *host, uint64_t id) {
    struct dsm_lock *lock = lock_of(host, id);
    if (lock && lock->token == DSM_TOKEN_ASKED) set_died(host, lock, true);
}

void dsm_lock_granted(struct dsm_host *host, const struct dsm_job *job) {
    struct dsm_lock *lock = lock_of(host, job->id);
    /* Who hears from us from now on must know what we were told, seen or not. */
    if (job->arg > host->published) host->published = job->arg;
    if (!lock || lock->token != DSM_TOKEN_ASKED) return;
    lock->token = DSM_TOKEN_HERE;
    lock->recalled = lock->asked_blocking = 0;
    lock->grants = 0;
    dsm_count(host, DSM_COUNT_LOCK_REMOTE, 1);
    dispatch(host, lock);
}

void dsm_lock_try_failed(struct dsm_host *host, uint64_t id) {
    struct dsm_lock *lock = lock_of(host, id);
    if (!lock || lock->token != DSM_TOKEN_ASKED) return;
    refuse_tries(host, lock);
    if (!lock->asked_blocking) lock->token = DSM_TOKEN_ABSENT;
}

void dsm_lock_leave(struct dsm_host *host, uint64_t id) {
    struct dsm_lock *lock = lock_of(host, id);
    assert(lock && lock->token == DSM_TOKEN_LEAVING);
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_RETURN);
    bool want = lock->waiters.head != 0;
    dsm_put64(host->out, id);
    dsm_put8(host->out, want);
    dsm_sent(host->out, message, 0);
    set_died(host, lock, false); /* the master knows */
    lock->token = want ? DSM_TOKEN_ASKED : DSM_TOKEN_ABSENT;
    lock->asked_blocking = want;
    lock->recalled = 0;
}

/* A release that was made on another host: job->client. */
void dsm_lock_unlock_here(struct dsm_host *host, const struct dsm_job *job) {
    const struct dsm_lock *lock = lock_of(host, job->id);
    host->word_job = *job;
    if (lock && lock->token == DSM_TOKEN_HERE)
        take_word(host, lock, FOR_UNLOCK_FAR);
    else
        answer_unlock(host, FOR_UNLOCK_FAR, DSM_ST_TOO_OFTEN);
}

void dsm_lock_cancel(struct dsm_host *host, dsm_ref ref) {
    const struct dsm_job *job = dsm_at(host, ref);
    struct dsm_lock *lock = lock_of(host, job->id);
    dsm_queue_remove(host, &lock->waiters, ref);
    dsm_job_reply(host, ref, DSM_ST_CANCELLED, 0);
}
