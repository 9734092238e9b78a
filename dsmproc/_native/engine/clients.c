/* Processes of this host: their slots, their faults, their end. */
#include "engine/engine.h"
#include "sys/segv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FAULTS_AT_ONCE = 16 };

struct dsm_client *dsm_client_find(struct dsmproc_engine *engine, uint32_t pid) {
    for (uint32_t i = 0; i < DSM_MAX_CLIENTS; i++) {
        struct dsm_client *client = engine->agent.clients[i];
        if (client && client->pid == pid && !client->gone) return client;
    }
    return NULL;
}

struct dsm_client *dsm_client_make(struct dsmproc_engine *engine, uint32_t pid) {
    struct dsm_client *old = dsm_client_find(engine, pid);
    if (old) dsm_client_end(engine, old); /* it has exec'd */
    uint32_t slot = 0;
    while (slot < DSM_MAX_CLIENTS && engine->agent.clients[slot])
        slot++;
    if (slot == DSM_MAX_CLIENTS) return NULL;
    struct dsm_client *client = calloc(1, sizeof *client);
    if (!client) return NULL;
    client->slot = slot;
    client->pid = pid;
    client->faults = (struct dsm_source){.fd = -1, .kind = DSM_SOURCE_FAULTS};
    client->acks = -1;
    client->life = (struct dsm_source){.fd = -1, .kind = DSM_SOURCE_LIFE};
    /* The first connection's end can be missed while a forked child holds a copy of it. */
    client->life.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (client->life.fd >= 0 && dsm_loop_watch(engine->loop, &client->life) < 0) {
        close(client->life.fd);
        client->life.fd = -1;
    }
    engine->agent.clients[slot] = client;
    dsm_engine_count(engine, DSMPROC_STAT_CLIENTS, 1);
    return client;
}

int dsm_client_faults(struct dsmproc_engine *engine, struct dsm_client *client, int fd, bool segv) {
    if (client->faults.fd >= 0) return -EEXIST;
    int acks = segv ? dsm_segv_accept(fd) : -1;
    if (segv && acks < 0) return acks;
    client->faults.fd = fd;
    int error = dsm_loop_watch(engine->loop, &client->faults);
    if (!error) {
        client->acks = acks;
        return 0;
    }
    client->faults.fd = -1;
    if (acks >= 0) close(acks);
    return error;
}

/* Threads parked in that process are dying with it; our copies of its descriptors go at once, but
 * the slot stays until every request that was made from it is answered. */
void dsm_client_end(struct dsmproc_engine *engine, struct dsm_client *client) {
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
        if (conn && conn->client == client) dsm_conn_end(engine, conn);
    }
    dsm_client_release(engine, client);
}

void dsm_client_release(struct dsmproc_engine *engine, struct dsm_client *client) {
    if (--client->conns || !client->gone) return;
    struct dsm_buffer *attached = &client->attached;
    struct dsm_event event = {.kind = DSM_EV_DETACH, .client = client->slot};
    while (dsm_buffer_len(attached)) {
        memcpy(&event.id, attached->data + attached->head, sizeof event.id);
        dsm_buffer_consume(attached, sizeof event.id);
        dsm_agent_later(engine, &event);
    }
    event = (struct dsm_event){.kind = DSM_EV_CLIENT_GONE, .client = client->slot};
    dsm_agent_later(engine, &event);
    engine->garbage = true; /* freed at the end of the turn: stale events may name it */
}

int dsm_client_attached(struct dsm_client *client, uint64_t region) {
    return dsm_buffer_append(&client->attached, &region, sizeof region);
}

bool dsm_client_detached(struct dsm_client *client, uint64_t region) {
    struct dsm_buffer *attached = &client->attached;
    for (size_t at = attached->head; at < attached->tail; at += sizeof region) {
        if (memcmp(attached->data + at, &region, sizeof region)) continue;
        attached->tail -= sizeof region;
        memmove(attached->data + at, attached->data + attached->tail, sizeof region);
        return true;
    }
    return false;
}

static const struct dsm_range *find_range(const struct dsm_client *client, uint64_t address) {
    uint32_t low = 0, high = client->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (client->ranges[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low) return NULL;
    const struct dsm_range *range = &client->ranges[low - 1];
    return address - range->address < range->bytes ? range : NULL;
}

void dsm_client_read(struct dsmproc_engine *engine, struct dsm_client *client) {
    struct dsm_fault faults[FAULTS_AT_ONCE];
    int count = dsm_watch_read(client, faults, FAULTS_AT_ONCE);
    if (count == -ECONNRESET) return dsm_client_end(engine, client); /* it has disconnected */
    if (count < 0 && count != -EAGAIN) {
        dsm_engine_log(engine, "cannot read the faults of process %u: error %d", client->pid,
                       -count);
        dsm_client_end(engine, client);
        return;
    }
    for (int i = 0; i < count && !client->gone; i++) {
        const struct dsm_range *range = find_range(client, faults[i].address);
        uint64_t page_size = engine->agent.store.page_size;
        if (!range) { /* it was unmapped */
            dsm_watch_wake(engine, client, faults[i].address & ~(page_size - 1), page_size);
            continue;
        }
        uint64_t page = (faults[i].address - range->address) / page_size;
        struct dsm_event event = {
            .kind = faults[i].write ? DSM_EV_WRITE_FAULT : DSM_EV_READ_FAULT,
            .client = client->slot,
            .id = range->area->id << 32 | page,
        };
        if (!dsm_limit_hold(engine, &event)) dsm_agent_feed(engine, &event);
    }
}
