/* Requests of client threads: one at a time on each connection, answered once, cancellable. */
#include "engine/engine.h"
#include "sys/files.h"
#include "sys/net.h"
#include "sys/segv.h"
#include <errno.h>
#include <unistd.h>

enum {
    REQUEST_BYTES = 40,
    INDEX_BITS = DSM_REQ_INDEX_BITS,
    SPARE_FILES = 32, /* what the agent's Python keeps begins earlier */
};

static void reply_now(struct dsmproc_engine *engine, struct dsm_conn *conn, uint32_t status,
                      uint64_t value) {
    conn->req = 0;
    if (conn->orphan) return dsm_end_free(engine, conn);
    conn->answered = true;
    conn->status = status;
    conn->value = value;
    engine->agent.answers++;
    dsm_conns_flush(engine);
}

static void hello(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    if (conn->client) return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    conn->main = conn->request.a == 1;
    conn->client =
        conn->main ? dsm_client_make(engine, conn->pid) : dsm_client_find(engine, conn->pid);
    if (!conn->client)
        return reply_now(engine, conn, conn->main ? DSMPROC_ST_FULL : DSMPROC_ST_WRONG, 0);
    conn->client->conns++;
    conn->reply_fd = conn->main ? engine->agent.control_memory.fd : -1;
    reply_now(engine, conn, DSM_ST_OK, conn->client->slot);
}

static void faults(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    bool segv = conn->request.a == DSM_SEGV;
    int error =
        conn->passed < 0 ? -EBADF : dsm_client_faults(engine, conn->client, conn->passed, segv);
    if (!error) conn->passed = -1;
    reply_now(engine, conn, error ? DSMPROC_ST_SYSTEM : DSM_ST_OK, (uint64_t)-error);
}

static void mapped(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    struct dsm_area *area = dsm_area_find(engine, conn->request.id);
    if (!area || conn->client->faults.fd < 0 || dsm_area_address(area, conn->client))
        return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    int error = dsm_area_map(area, conn->client, conn->request.a);
    reply_now(engine, conn, error ? DSMPROC_ST_SYSTEM : DSM_ST_OK, (uint64_t)-error);
}

static void detach(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    struct dsm_area *area = dsm_area_find(engine, conn->request.id);
    if (!dsm_client_detached(conn->client, conn->request.id))
        return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    uint64_t address = area ? dsm_area_address(area, conn->client) : 0;
    if (address) {
        dsm_area_unmap(area, conn->client);
        dsm_watch_wake(engine, conn->client, address, area->memory.bytes);
    }
    struct dsm_event event = {
        .kind = DSM_EV_DETACH, .client = conn->client->slot, .id = conn->request.id};
    dsm_agent_feed(engine, &event);
    reply_now(engine, conn, DSM_ST_OK, 0);
}

static void lock_open(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    if (!conn->request.id) return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    bool known = dsm_locks_find(engine, conn->request.id) != NULL;
    int64_t slot = dsm_locks_open(engine, conn->request.id);
    const struct dsm_event event = {.kind = DSM_EV_LOCK_OPEN, .id = conn->request.id};
    if (!known && slot >= 0) dsm_agent_feed(engine, &event);
    reply_now(engine, conn, slot < 0 ? DSMPROC_ST_FULL : DSM_ST_OK, (uint64_t)slot);
}

/* A slice of the pages a step; the request is refused as a whole by its first one. */
static void bind_pages(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    const struct dsmproc_request *request = &conn->request;
    const struct dsm_area *area = dsm_area_find(engine, request->id >> 32);
    uint64_t first = request->id & UINT32_MAX, left = request->a;
    if (!area || !dsm_area_address(area, conn->client) || first > area->pages ||
        left > area->pages - first)
        return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    struct dsm_event event = {
        .kind = DSM_EV_BIND, .id = request->id, .arg = request->b, .req = request->c == 1};
    for (; left; left -= event.client, event.id += event.client) {
        event.client = left < DSM_BIND_MAX ? (uint32_t)left : DSM_BIND_MAX;
        dsm_agent_feed(engine, &event);
    }
    reply_now(engine, conn, DSM_ST_OK, 0);
}

static void feed_request(struct dsmproc_engine *engine, struct dsm_conn *conn, uint32_t kind) {
    const struct dsmproc_request *request = &conn->request;
    bool lock = kind == DSM_EV_LOCK || kind == DSM_EV_UNLOCK || kind == DSM_EV_CONSISTENT;
    if (lock && !dsm_locks_find(engine, request->id))
        return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    struct dsm_event event = {.kind = kind,
                              .client = conn->client->slot,
                              .id = request->id,
                              .req = conn->req,
                              .arg = request->a};
    uint8_t arguments[24];
    if (kind == DSM_EV_CALL) {
        dsm_put_le64(arguments, request->a);
        dsm_put_le64(arguments + 8, request->b);
        dsm_put_le64(arguments + 16, request->c);
        event.arg = request->op;
        event.bytes = arguments;
        event.len = sizeof arguments;
    }
    engine->refused = false;
    dsm_agent_feed(engine, &event);
    if (engine->refused && conn->req) reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
}

/* Who falls asleep lets go of a lock then: the master must hear of the sleeper before it hears of
 * whoever has the lock next. What is sent to it stays in order: the sleeper is told when it is. */
static void call(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    feed_request(engine, conn, DSM_EV_CALL);
    if (!conn->req || conn->request.op != DSM_CALL_SEM_SLEEP) return;
    if (dsm_conns_send(conn, DSMPROC_ST_WAITING, DSMPROC_BEGUN, -1)) dsm_end_conn(engine, conn);
}

/* Only the agent itself says that its host leaves. */
static void leave(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    const struct dsmproc_request *request = &conn->request;
    if (conn->pid != (uint32_t)getpid()) return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    dsm_locks_owner_died(engine, 0, 0); /* by processes that have ended without a release */
    dsm_execute_later(engine);
    uint8_t others[32];
    dsm_put_le64(others, request->id);
    dsm_put_le64(others + 8, request->a);
    dsm_put_le64(others + 16, request->b);
    dsm_put_le64(others + 24, request->c);
    const struct dsm_event event = {
        .kind = DSM_EV_LEAVE, .req = conn->req, .bytes = others, .len = sizeof others};
    engine->refused = false;
    dsm_agent_feed(engine, &event);
    if (engine->refused && conn->req) reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
}

/* A region that is new here takes memory and a file. */
static void attach(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    if (!dsm_area_find(engine, conn->request.id)) {
        uint64_t files = dsm_files_scarce(SPARE_FILES);
        if (files) return reply_now(engine, conn, DSMPROC_ST_FILES, files);
        if (dsm_limit_full(engine))
            return reply_now(engine, conn, DSMPROC_ST_MEMORY, engine->options.memory);
    }
    feed_request(engine, conn, DSM_EV_ATTACH);
}

static void begin(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    conn->req = ++engine->agent.last_req << INDEX_BITS | conn->index;
    if (conn->request.kind == DSMPROC_OP_HELLO) return hello(engine, conn);
    if (!conn->client) return dsm_end_conn(engine, conn);
    switch (conn->request.kind) {
    case DSMPROC_OP_FAULTS:
        return faults(engine, conn);
    case DSMPROC_OP_MAPPED:
        return mapped(engine, conn);
    case DSMPROC_OP_DETACH:
        return detach(engine, conn);
    case DSMPROC_OP_LOCK_OPEN:
        return lock_open(engine, conn);
    case DSMPROC_OP_BIND:
        return bind_pages(engine, conn);
    case DSMPROC_OP_ATTACH:
        return attach(engine, conn);
    case DSMPROC_OP_PUBLISH:
        return feed_request(engine, conn, DSM_EV_PUBLISH);
    case DSMPROC_OP_OBSERVE:
        return feed_request(engine, conn, DSM_EV_OBSERVE);
    case DSMPROC_OP_LOCK:
        return feed_request(engine, conn, DSM_EV_LOCK);
    case DSMPROC_OP_UNLOCK:
        conn->request.a = 0; /* that a holder died, only the engine says */
        return feed_request(engine, conn, DSM_EV_UNLOCK);
    case DSMPROC_OP_CONSISTENT:
        return feed_request(engine, conn, DSM_EV_CONSISTENT);
    case DSMPROC_OP_CALL:
        return call(engine, conn);
    case DSMPROC_OP_LEAVE:
        return leave(engine, conn);
    case DSMPROC_OP_ID:
        return reply_now(engine, conn, DSM_ST_OK,
                         (uint64_t)engine->options.host << 48 | ++engine->agent.last_id);
    default:
        return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    }
}

static void cancel(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    if (!conn->req) return; /* its answer is on the way */
    struct dsm_event event = {.kind = DSM_EV_CANCEL, .req = conn->req};
    dsm_agent_feed(engine, &event);
}

void dsm_requests_ready(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    size_t have = dsm_buffer_len(&conn->in);
    ssize_t got =
        dsm_net_receive_with(conn->source.fd, &conn->in, REQUEST_BYTES - have, &conn->passed);
    if (got == -EAGAIN) return;
    if (got <= 0) return dsm_end_conn(engine, conn);
    if (dsm_buffer_len(&conn->in) < REQUEST_BYTES) return;
    const uint8_t *bytes = conn->in.data + conn->in.head;
    struct dsmproc_request request = {
        .kind = dsm_get_le32(bytes),
        .op = dsm_get_le32(bytes + 4),
        .id = dsm_get_le64(bytes + 8),
        .a = dsm_get_le64(bytes + 16),
        .b = dsm_get_le64(bytes + 24),
        .c = dsm_get_le64(bytes + 32),
    };
    dsm_buffer_consume(&conn->in, REQUEST_BYTES);
    if (request.kind == DSMPROC_OP_CANCEL) return cancel(engine, conn);
    if (conn->req) return dsm_end_conn(engine, conn); /* it does not know its own protocol */
    conn->request = request;
    begin(engine, conn);
}
