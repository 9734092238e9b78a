/* What a process of this host may do with pages, changed by the mechanism that it has: through its
 * userfaultfd, or by commands to its helper (sys/segv.h). */
#include "engine/engine.h"
#include "sys/segv.h"
#include "sys/uffd.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATIENCE_MS = 2000, DYING_MS = 1000 };

static void check(struct dsmproc_engine *engine, const char *what, enum dsm_uffd_result result) {
    if (result == DSM_UFFD_BUG)
        dsm_engine_fail(engine, "userfaultfd refuses to %s: %s", what, strerror(errno));
}

/* How long a process may take for its acknowledgement: well below the time after which other hosts
 * would take our silence for our death. */
static uint64_t patience(const struct dsmproc_engine *engine) {
    uint64_t silence = (uint64_t)engine->options.beat_ms * engine->options.silent_beats;
    return silence && silence / 2 < PATIENCE_MS ? silence / 2 : PATIENCE_MS;
}

/* It is stopped, or very far behind: no page that it maps can be taken from it, and all wait. It
 * has ended when this returns, so that it changes no page any more. */
static void end_silent(struct dsmproc_engine *engine, struct dsm_client *client) {
    client->mute = true;
    dsm_engine_log(engine,
                   "process %u is ended: it gave no page back for %llu ms (is it stopped?), which "
                   "DSMPROC_FAULTS=segv needs",
                   client->pid, (unsigned long long)patience(engine));
    syscall(SYS_pidfd_send_signal, client->life.fd, SIGKILL, NULL, 0);
    struct pollfd ended = {.fd = client->life.fd, .events = POLLIN};
    (void)poll(&ended, 1, DYING_MS);
}

static void command(struct dsmproc_engine *engine, struct dsm_client *client, uint32_t op,
                    uint64_t address, uint64_t bytes) {
    if (client->mute || client->resting) return;
    struct dsm_segv_command order = {
        .op = op, .number = ++client->commands, .address = address, .bytes = bytes};
    uint64_t until = dsm_segv_now() + patience(engine);
    for (;;) {
        int error = dsm_segv_command(client->faults.fd, &order);
        if (!error) return;
        if (error != -EAGAIN) { /* it exits or execs */
            client->mute = true;
            return;
        }
        uint64_t now = dsm_segv_now();
        if (now >= until) return end_silent(engine, client);
        struct pollfd room = {.fd = client->faults.fd, .events = POLLOUT};
        (void)poll(&room, 1, (int)(until - now));
    }
}

static void settle(struct dsmproc_engine *engine, struct dsm_client *client, uint64_t until) {
    if (client->acks < 0 || client->mute || client->resting) return;
    int error = dsm_segv_settle(client->acks, client->commands, until);
    if (error == -ETIMEDOUT) end_silent(engine, client);
    if (error) client->mute = true;
}

void dsm_watch_heard(struct dsmproc_engine *engine, struct dsm_client *client, uint32_t said) {
    if (said == DSM_SEGV_STOPS && !client->resting) {
        command(engine, client, DSM_SEGV_REST, 0, 0);
        settle(engine, client, dsm_segv_now() + patience(engine));
        client->resting = true;
    } else if (said == DSM_SEGV_GOES_ON && client->resting) {
        client->resting = false;
        command(engine, client, DSM_SEGV_GO, 0, 0);
    }
}

/* Commanded to all before the first is waited for: they do it at the same time. */
static void command_all(struct dsmproc_engine *engine, const struct dsm_area *area, uint32_t op,
                        uint64_t offset, uint64_t bytes) {
    for (uint32_t i = 0; i < area->count; i++) {
        struct dsm_client *client = area->mappings[i].client;
        if (client->acks >= 0)
            command(engine, client, op, area->mappings[i].address + offset, bytes);
    }
    uint64_t until = dsm_segv_now() + patience(engine);
    for (uint32_t i = 0; i < area->count; i++)
        settle(engine, area->mappings[i].client, until);
}

void dsm_watch_map(struct dsmproc_engine *engine, struct dsm_client *client, uint64_t address,
                   uint64_t bytes, bool writable) {
    if (client->acks >= 0)
        return command(engine, client, writable ? DSM_SEGV_MAP_WRITE : DSM_SEGV_MAP_READ, address,
                       bytes);
    check(engine, "map a page", dsm_uffd_map(client->faults.fd, address, bytes, writable));
}

void dsm_watch_protect(struct dsmproc_engine *engine, const struct dsm_area *area, uint64_t offset,
                       uint64_t bytes) {
    command_all(engine, area, DSM_SEGV_PROTECT, offset, bytes);
    for (uint32_t i = 0; i < area->count; i++) {
        const struct dsm_mapping *mapping = &area->mappings[i];
        if (mapping->client->acks >= 0) continue;
        check(engine, "protect a page",
              dsm_uffd_protect(mapping->client->faults.fd, mapping->address + offset, bytes));
    }
}

void dsm_watch_hide(struct dsmproc_engine *engine, const struct dsm_area *area, uint64_t offset,
                    uint64_t bytes) {
    command_all(engine, area, DSM_SEGV_HIDE, offset, bytes);
}

void dsm_watch_punched(struct dsmproc_engine *engine, const struct dsm_area *area, uint64_t offset,
                       uint64_t bytes) {
    for (uint32_t i = 0; i < area->count; i++)
        dsm_watch_wake(engine, area->mappings[i].client, area->mappings[i].address + offset, bytes);
}

void dsm_watch_wake(struct dsmproc_engine *engine, const struct dsm_client *client,
                    uint64_t address, uint64_t bytes) {
    if (client->acks >= 0) return; /* its helper does, and whoever unmaps */
    check(engine, "wake", dsm_uffd_wake(client->faults.fd, address, bytes));
}

void dsm_watch_poison(struct dsmproc_engine *engine, struct dsm_client *client, uint64_t address,
                      uint64_t bytes) {
    if (client->acks >= 0) return command(engine, client, DSM_SEGV_POISON, address, bytes);
    if (dsm_uffd_poison(client->faults.fd, address, bytes) != DSM_UFFD_BUG) return;
    dsm_engine_log(engine, "process %u is ended: a lost page cannot be kept from it: %s",
                   client->pid, strerror(errno));
    syscall(SYS_pidfd_send_signal, client->life.fd, SIGKILL, NULL, 0);
}

int dsm_watch_read(const struct dsm_client *client, struct dsm_fault *faults, int room) {
    return client->acks >= 0 ? dsm_segv_read(client->faults.fd, faults, room)
                             : dsm_uffd_read(client->faults.fd, faults, room);
}
