/* What a thread asks of the engine, and what its process has of locks and semaphores.
 *
 * Signal handlers of Python run between these calls and not in them, so each is all or nothing for
 * an exception that a handler raises. */
#include "core/core.h"
#include "sys/spin.h"
#include "include/dsmproc_api.h"
#include "sys/control.h"
#include "sys/net.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { REQUEST_BYTES = 40, REPLY_BYTES = 16 };

/* ---- what this process has ---------------------------------------------------------------- */

static void own(struct dsmproc_quick *quick) {
    quick->owner = (uint64_t)pthread_self();
    quick->depth = 1;
    quick->again = 0;
}

static void disown(struct dsmproc_quick *quick) {
    quick->owner = 0;
    quick->depth = 0;
    quick->owed = 0;
}

static bool is_mine(const struct dsmproc_quick *quick) {
    return quick->owner == (uint64_t)pthread_self();
}

int dsmproc_quick_take(struct dsmproc_quick *quick) {
    if (quick->recursive && is_mine(quick)) {
        quick->depth++;
        return 1;
    }
    if (dsm_word_try(&quick->control->words[quick->slot], quick->pid)) {
        own(quick);
        return 1;
    }
    if (is_mine(quick)) quick->again = 1;
    return 0;
}

/* Its owner is gone before another thread can have it. */
int dsmproc_quick_give(struct dsmproc_quick *quick) {
    if (quick->recursive && !is_mine(quick)) return DSM_GIVE_NOT_OWNED;
    if (quick->depth > 1) {
        quick->depth--;
        return DSM_GIVE_DONE;
    }
    uint64_t owner = quick->owner;
    int32_t depth = quick->depth;
    disown(quick);
    enum dsm_give given = dsm_word_give(&quick->control->words[quick->slot]);
    if (given == DSM_GIVE_ASK) {
        quick->owner = owner;
        quick->depth = depth;
        quick->owed = 1;
    }
    return (int)given;
}

int dsmproc_quick_untake(struct dsmproc_quick *quick) {
    return is_mine(quick) && !quick->again ? dsmproc_quick_give(quick) : 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

static int send(int fd, const struct dsmproc_request *request) {
    uint8_t bytes[REQUEST_BYTES];
    dsm_put_le32(bytes, request->kind);
    dsm_put_le32(bytes + 4, request->op);
    dsm_put_le64(bytes + 8, request->id);
    dsm_put_le64(bytes + 16, request->a);
    dsm_put_le64(bytes + 24, request->b);
    dsm_put_le64(bytes + 32, request->c);
    return dsm_net_send_with(fd, bytes, sizeof bytes, request->pass);
}

/* Who asks for an UNLOCK has the lock no more: another thread may have it before the answer. */
int dsmproc_request_send(int fd, struct dsmproc_request *request) {
    request->status = DSMPROC_ST_WAITING;
    request->fd = -1;
    if (request->kind == DSMPROC_OP_UNLOCK && request->lock) disown(request->lock);
    return send(fd, request);
}

int dsmproc_request_cancel(int fd) {
    return send(fd, &(struct dsmproc_request){.kind = DSMPROC_OP_CANCEL, .pass = -1});
}

static bool is_call(const struct dsmproc_request *request, uint32_t op) {
    return request->kind == DSMPROC_OP_CALL && request->op == op;
}

/* Threads may take and release a semaphore at once. */
static void count(struct dsmproc_quick *quick, int32_t by) {
    (void)__atomic_fetch_add(&quick->depth, by, __ATOMIC_RELAXED);
    if (by > 0) quick->owner = (uint64_t)pthread_self();
}

static void answered(struct dsmproc_request *request, const uint8_t *reply) {
    request->value = dsm_get_le64(reply + 8);
    request->status = dsm_get_le32(reply);
    if (request->status != DSM_ST_OK || !request->lock) return;
    if (request->kind == DSMPROC_OP_LOCK) own(request->lock);
    if (is_call(request, DSM_CALL_SEM_ACQUIRE)) count(request->lock, 1);
    if (is_call(request, DSM_CALL_SEM_RELEASE)) count(request->lock, -1);
}

static int receive(int fd, struct dsmproc_request *request) {
    struct dsm_buffer in = {0};
    ssize_t got = dsm_net_receive_with(fd, &in, REPLY_BYTES, &request->fd);
    if (got == REPLY_BYTES) answered(request, in.data);
    dsm_buffer_free(&in);
    if (got == REPLY_BYTES) return 0;
    if (request->fd >= 0) close(request->fd);
    request->fd = -1;
    if (got == -EAGAIN) return -EAGAIN;
    return -ECONNRESET; /* an answer is sent whole: less of it is the end */
}

int dsmproc_request_wait(int fd, int timeout_ms, struct dsmproc_request *request,
                         struct dsmproc_spin *spin) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    struct dsm_spinning now;
    int ready;
    dsm_spin_begin(spin, &now);
    do {
        ready = poll(&waiting, 1, 0);
    } while (!ready && dsm_spin_again(&now));
    if (!ready) ready = poll(&waiting, 1, timeout_ms);
    dsm_spin_end(spin, &now);
    if (ready < 0) return -errno;
    return ready ? receive(fd, request) : -EAGAIN;
}

static int finish(int fd, struct dsmproc_request *request) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    while (request->status == DSMPROC_ST_WAITING) {
        int error = poll(&waiting, 1, -1) < 0 ? -errno : receive(fd, request);
        if (error && error != -EINTR && error != -EAGAIN) return -ECONNRESET;
    }
    return 0;
}

/* What releases is not cancelled: its thread believes that it has released. */
static bool ends_early(const struct dsmproc_request *request) {
    return request->kind == DSMPROC_OP_LOCK || request->kind == DSMPROC_OP_ATTACH ||
           request->kind == DSMPROC_OP_PUBLISH || request->kind == DSMPROC_OP_OBSERVE ||
           is_call(request, DSM_CALL_SEM_ACQUIRE) || is_call(request, DSM_CALL_SEM_SLEEP);
}

/* Turn a request whose answer has granted something into the one that gives it back. */
static bool invert(struct dsmproc_request *request) {
    bool granted = request->status == DSM_ST_OK;
    if (request->kind == DSMPROC_OP_LOCK && granted) {
        request->kind = DSMPROC_OP_UNLOCK;
    } else if (request->kind == DSMPROC_OP_ATTACH && granted) {
        request->kind = DSMPROC_OP_DETACH;
    } else if (is_call(request, DSM_CALL_SEM_ACQUIRE) && granted) {
        request->op = DSM_CALL_SEM_RELEASE;
        request->c = 1;
    } else if (is_call(request, DSM_CALL_SEM_SLEEP) && granted) {
        request->op = DSM_CALL_SEM_WAKE; /* somebody else, in its place */
        request->c = 1;
    } else if (is_call(request, DSM_CALL_BAR_WAIT) && request->status == DSM_ST_ACTION) {
        request->op = DSM_CALL_BAR_ABORT;
    } else {
        return false;
    }
    return true;
}

int dsmproc_request_end(int fd, struct dsmproc_request *request) {
    if (request->status == DSMPROC_ST_IDLE) return 0;
    if (request->status == DSMPROC_ST_WAITING) {
        /* Its answer may be as far as the end of another party's action. The engine cancels it, and
         * breaks the barrier, when the connection ends. */
        if (is_call(request, DSM_CALL_BAR_WAIT)) return -ECONNRESET;
        int error = ends_early(request) ? dsmproc_request_cancel(fd) : 0;
        if (!error) error = finish(fd, request);
        if (error) return -ECONNRESET;
    }
    if (request->fd >= 0) close(request->fd);
    request->fd = -1;
    struct dsmproc_request back = *request;
    if (!invert(&back)) return 0;
    request->status = DSM_ST_CANCELLED;
    int error = dsmproc_request_send(fd, &back);
    return error ? -ECONNRESET : finish(fd, &back);
}
