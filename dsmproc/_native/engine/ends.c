/* A process of this host is gone, or the thread behind a connection: what it had goes back.
 *
 * A connection that closes while its request is under way becomes an orphan: the request is
 * cancelled, and what is granted nevertheless (the answer won the race) is given back. A process
 * ends with its main connection, and its connections with it.
 */
#include "engine/engine.h"
#include "sys/net.h"
#include <string.h>
#include <unistd.h>

void dsm_end_free(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    conn->free = true;
    engine->garbage = true;
    struct dsm_client *client = conn->client;
    conn->client = NULL;
    if (client) dsm_end_release(engine, client);
}

static void call_later(struct dsmproc_engine *engine, const struct dsmproc_request *request,
                       uint32_t op) {
    uint8_t bytes[24];
    dsm_put_le64(bytes, request->a);
    dsm_put_le64(bytes + 8, request->b);
    dsm_put_le64(bytes + 16, 1);
    struct dsm_event event = {
        .kind = DSM_EV_CALL, .id = request->id, .arg = op, .len = sizeof bytes, .bytes = bytes};
    dsm_events_later(engine, &event);
}

/* What an orphan was granted goes back. */
void dsm_end_give_back(struct dsmproc_engine *engine, struct dsm_conn *conn) {
    const struct dsmproc_request *request = &conn->request;
    bool granted = conn->status == DSM_ST_OK;
    if (request->kind == DSMPROC_OP_LOCK && granted) {
        dsm_locks_release(engine, request->id);
    } else if (request->kind == DSMPROC_OP_ATTACH && granted && conn->client) {
        struct dsm_event event = {
            .kind = DSM_EV_DETACH, .client = conn->client->slot, .id = request->id};
        dsm_events_later(engine, &event);
    } else if (request->kind == DSMPROC_OP_CALL) {
        if (request->op == DSM_CALL_SEM_ACQUIRE && granted)
            call_later(engine, request, DSM_CALL_SEM_RELEASE);
        else if (request->op == DSM_CALL_SEM_SLEEP && granted)
            call_later(engine, request, DSM_CALL_SEM_WAKE);
        else if (request->op == DSM_CALL_BAR_WAIT && !granted)
            call_later(engine, request, DSM_CALL_BAR_ABORT); /* its party will never come */
    }
}

void dsm_end_conn(struct dsmproc_engine *engine, struct dsm_conn *conn) {
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
        /* The answer is ready but was not sent: dsm_conns_flush gives it back. */
    } else if (conn->req) {
        struct dsm_event event = {.kind = DSM_EV_CANCEL, .req = conn->req};
        dsm_events_later(engine, &event);
    } else {
        dsm_end_free(engine, conn);
    }
    if (whole) dsm_end_client(engine, client);
}

/* Threads parked in that process are dying with it; our copies of its descriptors go at once, but
 * the slot stays until every request that was made from it is answered. */
void dsm_end_client(struct dsmproc_engine *engine, struct dsm_client *client) {
    if (client->gone) return;
    client->gone = true;
    while (client->count)
        dsm_area_unmap(client->ranges[0].area, client);
    struct dsm_source *sources[] = {&client->faults, &client->life};
    for (int i = 0; i < 2; i++) {
        dsm_loop_unwatch(engine->loop, sources[i]);
        if (sources[i]->fd >= 0) close(sources[i]->fd);
        sources[i]->fd = -1;
    }
    if (client->acks >= 0) close(client->acks);
    client->acks = -1;
    struct dsmproc_notice notice = {.kind = DSMPROC_NOTE_CLIENT_GONE, .pid = client->pid};
    dsm_engine_note(engine, &notice);
    client->conns++; /* keeps it while its connections end */
    for (uint32_t i = 0; i < engine->agent.nconns; i++) {
        struct dsm_conn *conn = engine->agent.conns[i];
        if (conn && conn->client == client) dsm_end_conn(engine, conn);
    }
    dsm_end_release(engine, client);
}

void dsm_end_release(struct dsmproc_engine *engine, struct dsm_client *client) {
    if (--client->conns || !client->gone) return;
    struct dsm_buffer *attached = &client->attached;
    struct dsm_event event = {.kind = DSM_EV_DETACH, .client = client->slot};
    while (dsm_buffer_len(attached)) {
        memcpy(&event.id, attached->data + attached->head, sizeof event.id);
        dsm_buffer_consume(attached, sizeof event.id);
        dsm_events_later(engine, &event);
    }
    event = (struct dsm_event){.kind = DSM_EV_CLIENT_GONE, .client = client->slot};
    dsm_events_later(engine, &event);
    engine->garbage = true; /* freed at the end of the turn: stale events may name it */
}
