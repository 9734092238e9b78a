/* Connections of client threads, and the answers on them: each request is answered once. */
#include "engine/engine.h"
#include "sys/net.h"
#include <errno.h>
#include <stdlib.h>

enum { REPLY_BYTES = 16, NO_CONN = DSM_REQ_NO_CONN };

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

void dsm_conns_reply(struct dsmproc_engine *engine, uint64_t req, uint32_t status, uint64_t value) {
    uint64_t index = req & NO_CONN;
    if (index >= engine->agent.nconns) { /* the engine's own */
        if (engine->agent.relief == req) engine->agent.relieved = true;
        return;
    }
    struct dsm_conn *conn = engine->agent.conns[index];
    if (!conn || conn->req != req) return;
    conn->req = 0;
    conn->answered = true;
    conn->status = status;
    conn->value = value;
    engine->agent.answers++;
}

int dsm_conns_send(const struct dsm_conn *conn, uint32_t status, uint64_t value, int fd) {
    uint8_t bytes[REPLY_BYTES] = {0};
    dsm_put_le32(bytes, status);
    dsm_put_le64(bytes + 8, value);
    return dsm_net_send_with(conn->source.fd, bytes, sizeof bytes, fd);
}

static void answer(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    conn->answered = false;
    if (conn->orphan) {
        dsm_end_give_back(engine, conn);
        dsm_end_free(engine, conn);
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
    note_action(conn);
    if (!dsm_conns_send(conn, conn->status, conn->value, fd)) return;
    /* It is gone, or does not read what it asked for. What it was granted goes back; an attachment
     * does when its process ends. */
    struct dsm_conn last = *conn;
    last.client = NULL;
    dsm_end_conn(engine, conn);
    dsm_end_give_back(engine, &last);
}

void dsm_conns_flush(struct dsmproc_engine *engine) {
    struct dsm_agent *agent = &engine->agent;
    for (uint32_t i = 0; agent->answers && i < agent->nconns; i++) {
        struct dsm_conn *conn = agent->conns[i];
        if (!conn || !conn->answered) continue;
        agent->answers--;
        answer(engine, conn);
    }
}

void dsm_conns_collect(struct dsmproc_engine *engine) {
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
