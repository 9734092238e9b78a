/* Requests of client threads: one at a time on each connection, answered once, cancellable.
 *
 * A connection that closes while its request is under way becomes an orphan: the request is
 * cancelled, and what is granted nevertheless (the answer won the race) is given back.
 */
#include "engine/engine.h"
#include "sys/files.h"
#include "sys/net.h"
#include "sys/segv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    REQUEST_BYTES = 40,
    REPLY_BYTES = 16,
    INDEX_BITS = DSM_REQ_INDEX_BITS,
    NO_CONN = DSM_REQ_NO_CONN,
    SPARE_FILES = 32, /* what the agent's Python keeps begins earlier */
};

int dsm_conn_add(struct dsmproc_engine *engine, int fd, uint32_t pid) {
    struct dsm_agent *agent = &engine->agent;
    uint32_t index = 0;
    while (index < agent->nconns && agent->conns[index])
        index++;
    if (index == NO_CONN) return -EMFILE;
    if (index == agent->conns_room) {
        uint32_t room = agent->conns_room ? agent->conns_room * 2 : 64;
        struct dsm_conn **conns = realloc(agent->conns, room * sizeof(struct dsm_conn *));
        if (!conns) return -ENOMEM;
        agent->conns = conns;
        agent->conns_room = room;
    }
    struct dsm_conn *conn = calloc(1, sizeof *conn);
    if (!conn) return -ENOMEM;
    *conn = (struct dsm_conn){.index = index, .pid = pid, .passed = -1, .reply_fd = -1};
    conn->source = (struct dsm_source){.fd = fd, .kind = DSM_SOURCE_CONN};
    int error = dsm_net_prepare(fd);
    if (!error) error = dsm_loop_watch(engine->loop, &conn->source);
    if (error) {
        free(conn);
        return error;
    }
    agent->conns[index] = conn;
    if (index == agent->nconns) agent->nconns++;
    return 0;
}

static void conn_free(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    conn->free = true;
    engine->garbage = true;
    struct dsm_client *client = conn->client;
    conn->client = NULL;
    if (client) dsm_client_release(engine, client);
}

static void call_later(struct dsmproc_engine *engine, const struct dsmproc_request *request,
                       uint32_t op) {
    uint8_t bytes[24];
    dsm_put_le64(bytes, request->a);
    dsm_put_le64(bytes + 8, request->b);
    dsm_put_le64(bytes + 16, 1);
    struct dsm_event event = {
        .kind = DSM_EV_CALL, .id = request->id, .arg = op, .len = sizeof bytes, .bytes = bytes};
    dsm_agent_later(engine, &event);
}

void dsm_conn_end(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    if (conn->orphan || conn->free) return;
    dsm_loop_unwatch(engine->loop, &conn->source);
    close(conn->source.fd);
    conn->source.fd = -1;
    if (conn->passed >= 0) close(conn->passed);
    conn->passed = -1;
    conn->orphan = true;
    if (conn->acting.id) call_later(engine, &conn->acting, DSM_CALL_BAR_ABORT);
    conn->acting.id = 0;
    struct dsm_client *client = conn->client;
    bool whole = conn->main && client;
    if (conn->answered) {
        /* The answer is ready but was not sent: dsm_requests_flush gives it back. */
    } else if (conn->req) {
        struct dsm_event event = {.kind = DSM_EV_CANCEL, .req = conn->req};
        dsm_agent_later(engine, &event);
    } else {
        conn_free(engine, conn);
    }
    if (whole) dsm_client_end(engine, client);
}

/* What an orphan was granted goes back. */
static void orphan_answered(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    const struct dsmproc_request *request = &conn->request;
    bool granted = conn->status == DSM_ST_OK;
    if (request->kind == DSMPROC_OP_LOCK && granted) {
        dsm_locks_release(engine, request->id);
    } else if (request->kind == DSMPROC_OP_ATTACH && granted && conn->client) {
        struct dsm_event event = {
            .kind = DSM_EV_DETACH, .client = conn->client->slot, .id = request->id};
        dsm_agent_later(engine, &event);
    } else if (request->kind == DSMPROC_OP_CALL) {
        if (request->op == DSM_CALL_SEM_ACQUIRE && granted)
            call_later(engine, request, DSM_CALL_SEM_RELEASE);
        else if (request->op == DSM_CALL_BAR_WAIT && !granted)
            call_later(engine, request, DSM_CALL_BAR_ABORT); /* its party will never come */
    }
}

/* A thread that was told to run a barrier's action must say that it is done, or the others wait
 * for ever: its end is remembered until then. */
static void note_action(struct dsm_conn *conn) {
    const struct dsmproc_request *request = &conn->request;
    if (request->kind != DSMPROC_OP_CALL) return;
    if (request->op == DSM_CALL_BAR_WAIT && conn->status == DSM_ST_ACTION)
        conn->acting = *request;
    else if (request->id == conn->acting.id &&
             (request->op == DSM_CALL_BAR_DONE || request->op == DSM_CALL_BAR_ABORT))
        conn->acting.id = 0;
}

void dsm_requests_reply(struct dsmproc_engine *engine, uint64_t req, uint32_t status,
                        uint64_t value) {
    uint64_t index = req & NO_CONN;
    if (index >= engine->agent.nconns)
        return dsm_limit_answered(engine, req); /* the engine's own */
    struct dsm_conn *conn = engine->agent.conns[index];
    if (!conn || conn->req != req) return;
    conn->req = 0;
    conn->answered = true;
    conn->status = status;
    conn->value = value;
    engine->agent.answers++;
}

static void answer(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    conn->answered = false;
    if (conn->orphan) {
        orphan_answered(engine, conn);
        conn_free(engine, conn);
        return;
    }
    int fd = conn->reply_fd;
    conn->reply_fd = -1;
    if (conn->request.kind == DSMPROC_OP_ATTACH && conn->status == DSM_ST_OK) {
        const struct dsm_area *area = dsm_area_find(engine, conn->request.id);
        fd = area ? area->memory.fd : -1;
        if (dsm_client_attached(conn->client, conn->request.id))
            dsm_engine_fail(engine, "no memory for an attachment");
    }
    uint8_t bytes[REPLY_BYTES] = {0};
    dsm_put_le32(bytes, conn->status);
    dsm_put_le64(bytes + 8, conn->value);
    note_action(conn);
    if (!dsm_net_send_with(conn->source.fd, bytes, sizeof bytes, fd)) return;
    /* It is gone, or does not read what it asked for. What it was granted goes back; an attachment
     * does when its process ends. */
    struct dsm_conn last = *conn;
    last.client = NULL;
    dsm_conn_end(engine, conn);
    orphan_answered(engine, &last);
}

void dsm_requests_flush(struct dsmproc_engine *engine) {
    struct dsm_agent *agent = &engine->agent;
    for (uint32_t i = 0; agent->answers && i < agent->nconns; i++) {
        struct dsm_conn *conn = agent->conns[i];
        if (!conn || !conn->answered) continue;
        agent->answers--;
        answer(engine, conn);
    }
}

void dsm_requests_collect(struct dsmproc_engine *engine) {
    struct dsm_agent *agent = &engine->agent;
    for (uint32_t i = 0; i < agent->nconns; i++) {
        struct dsm_conn *conn = agent->conns[i];
        if (!conn || !conn->free) continue;
        dsm_buffer_free(&conn->in);
        free(conn);
        agent->conns[i] = NULL;
    }
    for (uint32_t i = 0; i < DSM_MAX_CLIENTS; i++) {
        struct dsm_client *client = agent->clients[i];
        if (!client || !client->gone || client->conns) continue;
        free(client->ranges);
        dsm_buffer_free(&client->attached);
        free(client);
        agent->clients[i] = NULL;
        dsm_engine_count(engine, DSMPROC_STAT_CLIENTS, UINT64_MAX);
    }
}

static void reply_now(struct dsmproc_engine *engine, struct dsm_conn *conn, uint32_t status,
                      uint64_t value) {
    conn->req = 0;
    if (conn->orphan) return conn_free(engine, conn);
    conn->answered = true;
    conn->status = status;
    conn->value = value;
    engine->agent.answers++;
    dsm_requests_flush(engine);
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
    int64_t slot = dsm_locks_open(engine, conn->request.id);
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

/* Only the agent itself says that its host leaves. */
static void leave(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    const struct dsmproc_request *request = &conn->request;
    if (conn->pid != (uint32_t)getpid()) return reply_now(engine, conn, DSMPROC_ST_WRONG, 0);
    dsm_locks_owner_died(engine, 0, 0); /* by processes that have ended without a release */
    dsm_agent_drain(engine);
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
    if (!conn->client) return dsm_conn_end(engine, conn);
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
        return feed_request(engine, conn, DSM_EV_CALL);
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

void dsm_conn_ready(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    size_t have = dsm_buffer_len(&conn->in);
    ssize_t got =
        dsm_net_receive_with(conn->source.fd, &conn->in, REQUEST_BYTES - have, &conn->passed);
    if (got == -EAGAIN) return;
    if (got <= 0) return dsm_conn_end(engine, conn);
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
    if (conn->req) return dsm_conn_end(engine, conn); /* it does not know its own protocol */
    conn->request = request;
    begin(engine, conn);
}
