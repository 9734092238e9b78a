/* Processes of this host: their slots, their faults, their end. */
#include "engine/engine.h"
#include "sys/segv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dsm_client *dsm_client_find(struct dsmproc_engine *engine, uint32_t pid) {
    for (uint32_t i = 0; i < DSM_MAX_CLIENTS; i++) {
        struct dsm_client *client = engine->agent.clients[i];
        if (client && client->pid == pid && !client->gone) return client;
    }
    return NULL;
}

struct dsm_client *dsm_client_make(struct dsmproc_engine *engine, uint32_t pid) {
    struct dsm_client *old = dsm_client_find(engine, pid);
    if (old) dsm_end_client(engine, old); /* it has exec'd */
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
