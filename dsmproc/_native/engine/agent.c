/* The agent role: events into the protocol's step, its actions done, its summary shown. */
#include "engine/engine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int control_open(struct dsmproc_engine *engine, uint32_t page_size) {
    struct dsm_agent *agent = &engine->agent;
    int error =
        dsm_memory_make(&agent->control_memory, "dsmproc-control", sizeof(struct dsm_control));
    if (error) return error;
    agent->control = (struct dsm_control *)(void *)agent->control_memory.base;
    agent->control->magic = DSM_CONTROL_MAGIC;
    agent->control->page_size = page_size;
    agent->control->host = engine->options.host;
    agent->control->locks = DSM_CONTROL_LOCKS;
    return 0;
}

int dsm_agent_open(struct dsmproc_engine *engine) {
    uint32_t page_size = (uint32_t)sysconf(_SC_PAGESIZE);
    const struct dsm_config config = {
        .host = engine->options.host,
        .page_size = page_size,
        .run = engine->options.run,
        .most = engine->options.most,
        .ahead = engine->options.ahead,
        .hot = engine->options.hot,
        .grants = engine->options.grants,
        .carry = engine->options.carry,
        .feed = engine->options.feed,
        .keep = engine->options.keep,
        .model = engine->options.model,
    };
    engine->agent.control_memory.fd = -1;
    int error = dsm_store_open(&engine->agent.store, page_size);
    if (!error) error = control_open(engine, page_size);
    if (error) return error;
    engine->host = dsm_host_init(engine->arena, engine->arena_bytes, &config);
    return engine->host ? 0 : -ENOMEM;
}

void dsm_agent_close(struct dsmproc_engine *engine) {
    struct dsm_agent *agent = &engine->agent;
    for (uint32_t i = 0; i < agent->nconns; i++) {
        struct dsm_conn *conn = agent->conns[i];
        if (!conn) continue;
        if (conn->source.fd >= 0) close(conn->source.fd);
        if (conn->passed >= 0) close(conn->passed);
        dsm_buffer_free(&conn->in);
        free(conn);
    }
    for (uint32_t i = 0; i < DSM_MAX_CLIENTS; i++) {
        struct dsm_client *client = agent->clients[i];
        if (!client) continue;
        if (client->faults.fd >= 0) close(client->faults.fd);
        if (client->acks >= 0) close(client->acks);
        if (client->life.fd >= 0) close(client->life.fd);
        client->count = 0; /* the regions below shall not look for themselves in it */
        free(client->ranges);
        client->ranges = NULL;
        dsm_buffer_free(&client->attached);
    }
    for (uint64_t i = 0; i < agent->regions.room; i++)
        while (agent->regions.entries[i].used)
            dsm_area_end(engine, agent->regions.entries[i].key);
    for (uint32_t i = 0; i < DSM_MAX_CLIENTS; i++)
        free(agent->clients[i]);
    dsm_table_free(&agent->regions);
    dsm_table_free(&agent->locks);
    dsm_memory_free(&agent->control_memory);
    dsm_store_close(&agent->store);
    dsm_buffer_free(&agent->results);
    dsm_buffer_free(&agent->later);
    dsm_buffer_free(&agent->sink);
    dsm_buffer_free(&agent->unpacked);
    dsm_buffer_free(&agent->held);
    free(agent->conns);
    free(agent->lock_ids);
}

void dsm_agent_result(struct dsmproc_engine *engine, const struct dsm_event *event) {
    if (dsm_buffer_append(&engine->agent.results, event, sizeof *event))
        dsm_engine_fail(engine, "no memory for a result");
}

void dsm_agent_later(struct dsmproc_engine *engine, const struct dsm_event *event) {
    struct dsm_later later = {.event = *event};
    if (!later.event.req && (event->kind == DSM_EV_UNLOCK || event->kind == DSM_EV_CALL))
        later.event.req = ++engine->agent.last_req << DSM_REQ_INDEX_BITS | DSM_REQ_NO_CONN;
    if (event->len) memcpy(later.bytes, event->bytes, sizeof later.bytes);
    if (dsm_buffer_append(&engine->agent.later, &later, sizeof later))
        dsm_engine_fail(engine, "no memory for an event");
}

void dsm_agent_show(struct dsmproc_engine *engine) {
    struct dsm_control *control = engine->agent.control;
    atomic_store(&control->seen, engine->agent.summary.seen);
    atomic_store(&control->out, engine->agent.summary.out);
}

/* `busy` rises before any page becomes writable, and falls after `out` and `seen` are true: a
 * client that reads 0 may answer publish() by itself. `seen` rises after the step's punches, but
 * before any lock is given: whoever takes it must not send a message with an older stamp. */
static void step(struct dsmproc_engine *engine, const struct dsm_event *event) {
    struct dsm_control *control = engine->agent.control;
    engine->out.nactions = engine->out.nbytes = 0;
    int result = dsm_host_step(engine->host, event, &engine->out);
    if (result == DSM_E_PEER && event->kind == DSM_EV_MESSAGE)
        return dsm_peer_drop(engine, event->host, DSM_FAST, EPROTO);
    bool fed = event->kind == DSM_EV_DIFFED || event->kind == DSM_EV_WORDED;
    if (result == DSM_E_EVENT && !fed) {
        engine->refused = true; /* what a client asked for makes no sense: not our end */
        dsm_engine_log(engine, "the protocol refuses event %u", event->kind);
        return;
    }
    if (result < 0)
        return dsm_engine_fail(engine, "the protocol refuses event %u (%d)%s", event->kind, result,
                               result == DSM_E_MEMORY ? ": its memory is used up" : "");
    struct dsm_summary summary;
    dsm_host_summary(engine->host, &summary);
    engine->agent.summary = summary;
    if (summary.busy) atomic_store(&control->busy, summary.busy);
    engine->ticking = event->kind == DSM_EV_TICK;
    dsm_execute(engine, event);
    engine->ticking = false;
    dsm_agent_show(engine);
    if (!summary.busy) atomic_store(&control->busy, 0);
    atomic_store(&control->waiting, summary.waiting);
    if (engine->malformed) dsm_peer_drop(engine, event->host, DSM_FAST, EPROTO);
    engine->malformed = false;
    dsm_peers_stay(engine);
}

void dsm_agent_step(struct dsmproc_engine *engine, const struct dsm_event *event) {
    struct dsm_buffer *results = &engine->agent.results;
    if (!engine->failed) step(engine, event);
    while (dsm_buffer_len(results) && !engine->failed) {
        struct dsm_event result;
        memcpy(&result, results->data + results->head, sizeof result);
        dsm_buffer_consume(results, sizeof result);
        step(engine, &result);
    }
    dsm_requests_flush(engine);
}

void dsm_agent_feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    dsm_agent_step(engine, event);
    dsm_agent_drain(engine);
    dsm_limit_keep(engine);
}

void dsm_agent_drain(struct dsmproc_engine *engine) {
    struct dsm_buffer *queue = &engine->agent.later;
    while (dsm_buffer_len(queue) && !engine->failed) {
        struct dsm_later later;
        memcpy(&later, queue->data + queue->head, sizeof later);
        dsm_buffer_consume(queue, sizeof later);
        if (later.event.len) later.event.bytes = later.bytes;
        dsm_agent_step(engine, &later.event);
    }
}

static void client_died(struct dsmproc_engine *engine, uint32_t pid, uint64_t why) {
    struct dsm_client *client = dsm_client_find(engine, pid);
    if (client) dsm_client_end(engine, client); /* first: nothing is granted to it from here on */
    dsm_locks_owner_died(engine, pid, why);
}

void dsm_agent_command(struct dsmproc_engine *engine, const struct dsmproc_command *command) {
    if (command->kind == DSMPROC_CMD_CLIENT_DIED)
        client_died(engine, command->pid, command->arg);
    else if (command->kind == DSMPROC_CMD_ADD_CLIENT) {
        int error = dsm_conn_add(engine, command->fd, command->pid);
        if (!error) return;
        close(command->fd);
        dsm_engine_log(engine, "process %u is refused: %s", command->pid, strerror(-error));
    } else {
        dsm_engine_log(engine, "an agent has no command %u", command->kind);
    }
}
