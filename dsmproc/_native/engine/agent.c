/* The agent role: a host's protocol, its processes, its limit. */
#include "engine/engine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    if (!error) error = dsm_summary_open(engine, page_size);
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

static void feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    dsm_execute_step(engine, event);
    dsm_execute_later(engine);
    dsm_limit_keep(engine);
}

/* And the faults that waited for room, if there is some now. */
void dsm_agent_feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    feed(engine, event);
    for (struct dsm_event fault; dsm_limit_let_go(engine, &fault);)
        feed(engine, &fault);
}

static void client_died(struct dsmproc_engine *engine, uint32_t pid, uint64_t why) {
    struct dsm_client *client = dsm_client_find(engine, pid);
    if (client) dsm_end_client(engine, client); /* first: nothing is granted to it from here on */
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
    } else if (command->kind == DSMPROC_CMD_MEASURE) {
        dsm_limit_measure(engine);
    } else {
        dsm_engine_log(engine, "an agent has no command %u", command->kind);
    }
}
