/* The engine's thread: one turn of its loop after the other. */
#include "engine/engine.h"
#include "sys/spin.h"
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { READY = 64 };

#define CONTAINER(type, member, pointer)                                                           \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static void check(struct dsmproc_engine *engine) {
    int result = dsm_engine_is_agent(engine) ? dsm_host_check(engine->host)
                                             : dsm_master_check(engine->master);
    struct dsmproc_notice notice = {.kind = DSMPROC_NOTE_CHECKED, .arg = (uint64_t)result};
    dsm_engine_note(engine, &notice);
}

static void command_do(struct dsmproc_engine *engine, const struct dsmproc_command *command) {
    if (command->kind == DSMPROC_CMD_ADD_PEER) {
        int error = dsm_peer_add(engine, command);
        if (!error) return;
        close(command->fd);
        dsm_engine_log(engine, "the connection to host %u is refused: %s", command->host,
                       strerror(-error));
    } else if (command->kind == DSMPROC_CMD_HOST_LOST) {
        dsm_peer_drop(engine, command->host, DSM_FAST, 0);
        struct dsm_event event = {.kind = DSM_EV_HOST_LOST, .host = command->host};
        dsm_hear_event(engine, &event);
    } else if (command->kind == DSMPROC_CMD_CHECK) {
        check(engine);
    } else if (dsm_engine_is_agent(engine)) {
        dsm_agent_command(engine, command);
    } else {
        dsm_master_command(engine, command);
    }
}

static void commands(struct dsmproc_engine *engine) {
    dsm_eventfd_clear(engine->wake.fd);
    for (;;) {
        struct dsmproc_command command;
        pthread_mutex_lock(&engine->mutex);
        bool some = dsm_buffer_len(&engine->commands) > 0;
        if (some) {
            memcpy(&command, engine->commands.data + engine->commands.head, sizeof command);
            dsm_buffer_consume(&engine->commands, sizeof command);
        }
        pthread_mutex_unlock(&engine->mutex);
        if (!some) return;
        command_do(engine, &command);
        pthread_mutex_lock(&engine->mutex);
        engine->done++;
        pthread_cond_broadcast(&engine->settled);
        pthread_mutex_unlock(&engine->mutex);
    }
}

static void tick(struct dsmproc_engine *engine) {
    dsm_eventfd_clear(engine->timer.fd);
    if (!dsm_engine_is_agent(engine)) return;
    struct dsm_event event = {.kind = DSM_EV_TICK};
    dsm_agent_feed(engine, &event);
}

static void serve(struct dsmproc_engine *engine, struct dsm_source *source, uint32_t flags) {
    switch (source->kind) {
    case DSM_SOURCE_WAKE:
        return commands(engine);
    case DSM_SOURCE_TIMER:
        return tick(engine);
    case DSM_SOURCE_BEAT:
        dsm_eventfd_clear(engine->beat.fd);
        return dsm_peers_beat(engine);
    case DSM_SOURCE_HOLD:
        dsm_eventfd_clear(engine->hold.fd);
        engine->agent.more = true;
        return;
    case DSM_SOURCE_PEER:
        return dsm_hear_peer(engine, CONTAINER(struct dsm_peer, source, source), flags);
    case DSM_SOURCE_CONN:
        return dsm_requests_ready(engine, CONTAINER(struct dsm_conn, source, source));
    case DSM_SOURCE_FAULTS:
        return dsm_faults_read(engine, CONTAINER(struct dsm_client, faults, source));
    case DSM_SOURCE_LIFE:
        return dsm_end_client(engine, CONTAINER(struct dsm_client, life, source));
    default:
        return;
    }
}

/* Commands first: a message may be the consequence of one given before. Then what threads wait for:
 * faults, and what other hosts' faults wait for. Then the rest. */
static int rank(const struct dsm_source *source) {
    if (source->kind == DSM_SOURCE_WAKE) return 0;
    if (source->kind == DSM_SOURCE_FAULTS) return 1;
    if (source->kind != DSM_SOURCE_PEER) return 2;
    return CONTAINER(const struct dsm_peer, source, source)->channel == DSM_FAST ? 1 : 2;
}

/* Spins only after a turn in which a client or another host wanted something. */
static int wait_for_work(struct dsmproc_engine *engine, struct dsm_source **ready,
                         uint32_t *flags) {
    if (engine->agent.more && !engine->failed)
        return dsm_loop_wait(engine->loop, ready, flags, READY, 0);
    if (!engine->active) return dsm_loop_wait(engine->loop, ready, flags, READY, -1);
    struct dsm_spinning now;
    int count;
    dsm_spin_begin(&engine->spin, &now);
    do {
        count = dsm_loop_wait(engine->loop, ready, flags, READY, 0);
    } while (!count && dsm_spin_again(&now));
    if (!count) count = dsm_loop_wait(engine->loop, ready, flags, READY, -1);
    dsm_spin_end(&engine->spin, &now);
    return count;
}

/* One turn: what is urgent, the rest, one slice of bulk work; what each of them queued is written
 * before the next begins. */
static void turn(struct dsmproc_engine *engine) {
    struct dsm_source *ready[READY];
    uint32_t flags[READY];
    int count = wait_for_work(engine, ready, flags);
    if (count < 0) return dsm_engine_fail(engine, "epoll: %s", strerror(-count));
    engine->active = false;
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < count; i++) {
            if (rank(ready[i]) != pass || ready[i]->dead) continue;
            engine->active |= ready[i]->kind >= DSM_SOURCE_PEER;
            serve(engine, ready[i], flags[i]);
        }
        dsm_peers_flush(engine);
    }
    if (engine->agent.more && !engine->failed) {
        engine->agent.more = false;
        struct dsm_event event = {.kind = DSM_EV_MORE};
        dsm_agent_feed(engine, &event);
    }
    dsm_execute_later(engine);
    if (engine->garbage) {
        engine->garbage = false;
        dsm_conns_collect(engine);
    }
    dsm_peers_flush(engine);
    dsm_engine_set(engine, DSMPROC_STAT_REGIONS, engine->agent.regions.count);
    dsm_engine_set(engine, DSMPROC_STAT_TWINS, engine->agent.store.twins.count);
    dsm_engine_set(engine, DSMPROC_STAT_DIFFS, engine->agent.store.diffs.count);
}

void *dsm_engine_run(void *argument) {
    struct dsmproc_engine *engine = argument;
    pthread_setname_np(pthread_self(), "dsmproc-engine");
    for (;;) {
        pthread_mutex_lock(&engine->mutex);
        bool stopping = engine->stopping;
        pthread_mutex_unlock(&engine->mutex);
        if (stopping) return NULL;
        turn(engine);
    }
}
