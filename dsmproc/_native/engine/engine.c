/* The engine's thread, its loop, and its two doors to Python: commands in, notices out. */
#include "engine/engine.h"
#include "sys/spin.h"
#include "sys/net.h"
#include "sys/traffic.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { READY = 64, OUT_ACTIONS = 1 << 20, OUT_BYTES = 64 << 20, LEAST_ARENA = 64 << 20 };

#define CONTAINER(type, member, pointer)                                                           \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

void dsm_engine_note(struct dsmproc_engine *engine, const struct dsmproc_notice *notice) {
    pthread_mutex_lock(&engine->mutex);
    (void)dsm_buffer_append(&engine->notices, notice, sizeof *notice);
    pthread_mutex_unlock(&engine->mutex);
    dsm_eventfd_raise(engine->notice_fd);
}

void dsm_engine_log(struct dsmproc_engine *engine, const char *format, ...) {
    struct dsmproc_notice notice = {.kind = DSMPROC_NOTE_LOG};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(notice.text, sizeof notice.text, format, arguments);
    va_end(arguments);
    dsm_engine_note(engine, &notice);
}

void dsm_engine_fail(struct dsmproc_engine *engine, const char *format, ...) {
    if (engine->failed) return;
    engine->failed = true;
    struct dsmproc_notice notice = {.kind = DSMPROC_NOTE_FATAL};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(notice.text, sizeof notice.text, format, arguments);
    va_end(arguments);
    dsm_engine_note(engine, &notice);
}

void dsm_engine_count(struct dsmproc_engine *engine, uint32_t stat, uint64_t add) {
    if (stat < DSMPROC_STATS)
        atomic_fetch_add_explicit(&engine->stats[stat], add, memory_order_relaxed);
}

void dsm_engine_set(struct dsmproc_engine *engine, uint32_t stat, uint64_t value) {
    atomic_store_explicit(&engine->stats[stat], value, memory_order_relaxed);
}

static bool is_agent(const struct dsmproc_engine *engine) {
    return engine->options.role == DSMPROC_AGENT;
}

static void feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    if (is_agent(engine))
        dsm_agent_feed(engine, event);
    else
        dsm_master_feed(engine, event);
}

void dsm_engine_message(struct dsmproc_engine *engine, struct dsm_peer *peer, const uint8_t *bytes,
                        uint32_t len) {
    struct dsm_event event = {.kind = DSM_EV_MESSAGE,
                              .host = peer->host,
                              .client = peer->channel,
                              .bytes = bytes,
                              .len = len};
    feed(engine, &event);
}

static void check(struct dsmproc_engine *engine) {
    int result = is_agent(engine) ? dsm_host_check(engine->host) : dsm_master_check(engine->master);
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
        feed(engine, &event);
    } else if (command->kind == DSMPROC_CMD_CHECK) {
        check(engine);
    } else if (is_agent(engine)) {
        dsm_agent_command(engine, command);
    } else {
        dsm_master_command(engine, command);
    }
}

enum { SETTLE_SECONDS = 5 }; /* a thread that failed does no more commands */

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
    if (!is_agent(engine)) return;
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
        return dsm_peer_ready(engine, CONTAINER(struct dsm_peer, source, source), flags);
    case DSM_SOURCE_CONN:
        return dsm_conn_ready(engine, CONTAINER(struct dsm_conn, source, source));
    case DSM_SOURCE_FAULTS:
        return dsm_client_read(engine, CONTAINER(struct dsm_client, faults, source));
    case DSM_SOURCE_LIFE:
        return dsm_client_end(engine, CONTAINER(struct dsm_client, life, source));
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
    dsm_agent_drain(engine);
    if (engine->garbage) {
        engine->garbage = false;
        dsm_requests_collect(engine);
    }
    dsm_peers_flush(engine);
    dsm_engine_set(engine, DSMPROC_STAT_REGIONS, engine->agent.regions.count);
    dsm_engine_set(engine, DSMPROC_STAT_TWINS, engine->agent.store.twins.count);
    dsm_engine_set(engine, DSMPROC_STAT_DIFFS, engine->agent.store.diffs.count);
}

static void *run(void *argument) {
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

static int open_out(struct dsm_out *out) {
    uint64_t actions = OUT_ACTIONS * sizeof(struct dsm_action), bytes = OUT_BYTES;
    out->actions = dsm_memory_reserve(&actions, actions);
    out->bytes = dsm_memory_reserve(&bytes, bytes);
    if (!out->actions || !out->bytes) return -ENOMEM;
    out->max_actions = OUT_ACTIONS;
    out->max_bytes = OUT_BYTES;
    return 0;
}

static int open_timer(struct dsmproc_engine *engine, struct dsm_source *timer, uint32_t period_ms) {
    if (!period_ms) return 0;
    timer->fd = dsm_timer_open(period_ms);
    return timer->fd < 0 ? timer->fd : dsm_loop_watch(engine->loop, timer);
}

/* For pages that a host has under sequential consistency: they stay for a moment
 * (host/single.c). */
static int open_hold(struct dsmproc_engine *engine) {
    engine->hold.fd = dsm_timer_open(0);
    return engine->hold.fd < 0 ? engine->hold.fd : dsm_loop_watch(engine->loop, &engine->hold);
}

static int open_sources(struct dsmproc_engine *engine) {
    engine->loop = dsm_loop_open();
    engine->notice_fd = dsm_eventfd_open();
    engine->wake.fd = dsm_eventfd_open();
    if (engine->loop < 0 || engine->notice_fd < 0 || engine->wake.fd < 0) return -EMFILE;
    int error = dsm_loop_watch(engine->loop, &engine->wake);
    if (!error) error = open_timer(engine, &engine->timer, engine->options.tick_ms);
    if (!error) error = open_timer(engine, &engine->beat, engine->options.beat_ms);
    if (!error && engine->options.model == DSM_SC) error = open_hold(engine);
    return error;
}

static int open_all(struct dsmproc_engine *engine) {
    int error = open_sources(engine);
    if (!error) error = open_out(&engine->out);
    if (error) return error;
    dsm_peers_init(engine);
    engine->arena_bytes = engine->options.arena;
    engine->arena = dsm_memory_reserve(&engine->arena_bytes, LEAST_ARENA);
    if (!engine->arena) return -ENOMEM;
    return is_agent(engine) ? dsm_agent_open(engine) : dsm_master_open(engine);
}

static void close_commands(struct dsmproc_engine *engine) {
    while (dsm_buffer_len(&engine->commands)) {
        struct dsmproc_command command;
        memcpy(&command, engine->commands.data + engine->commands.head, sizeof command);
        dsm_buffer_consume(&engine->commands, sizeof command);
        if (command.fd >= 0) close(command.fd);
    }
}

static void close_all(struct dsmproc_engine *engine) {
    close_commands(engine);
    for (uint32_t host = 0; host <= DSM_MAX_HOSTS; host++)
        dsm_peer_drop(engine, host < DSM_MAX_HOSTS ? host : (uint32_t)DSM_MASTER, DSM_FAST, 0);
    if (is_agent(engine)) dsm_agent_close(engine);
    int fds[] = {engine->wake.fd, engine->timer.fd,  engine->beat.fd,
                 engine->hold.fd, engine->notice_fd, engine->loop};
    for (int i = 0; i < 6; i++)
        if (fds[i] >= 0) close(fds[i]);
    dsm_buffer_free(&engine->commands);
    dsm_buffer_free(&engine->notices);
    dsm_memory_release(engine->arena, engine->arena_bytes);
    dsm_memory_release(engine->out.actions, OUT_ACTIONS * sizeof(struct dsm_action));
    dsm_memory_release(engine->out.bytes, OUT_BYTES);
    pthread_cond_destroy(&engine->settled);
    pthread_mutex_destroy(&engine->mutex);
    free(engine);
}

int dsmproc_engine_start(const struct dsmproc_options *options, struct dsmproc_engine **engine) {
    struct dsmproc_engine *made = calloc(1, sizeof *made);
    if (!made) return -ENOMEM;
    made->options = *options;
    made->loop = made->notice_fd = -1;
    made->wake = (struct dsm_source){.fd = -1, .kind = DSM_SOURCE_WAKE};
    made->timer = (struct dsm_source){.fd = -1, .kind = DSM_SOURCE_TIMER};
    made->beat = (struct dsm_source){.fd = -1, .kind = DSM_SOURCE_BEAT};
    made->hold = (struct dsm_source){.fd = -1, .kind = DSM_SOURCE_HOLD};
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->settled, NULL);
    int error = open_all(made);
    if (!error) {
        sigset_t all, before; /* signals are Python's */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = -pthread_create(&made->thread, NULL, run, made);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (error)
        close_all(made);
    else
        *engine = made;
    return error;
}

void dsmproc_engine_stop(struct dsmproc_engine *engine) {
    pthread_mutex_lock(&engine->mutex);
    engine->stopping = true;
    pthread_mutex_unlock(&engine->mutex);
    dsm_eventfd_raise(engine->wake.fd);
    pthread_join(engine->thread, NULL);
    close_all(engine);
}

int dsmproc_engine_command(struct dsmproc_engine *engine, const struct dsmproc_command *command) {
    pthread_mutex_lock(&engine->mutex);
    int error = dsm_buffer_append(&engine->commands, command, sizeof *command);
    if (!error) engine->given++;
    pthread_mutex_unlock(&engine->mutex);
    if (error && command->fd >= 0) close(command->fd);
    if (!error) dsm_eventfd_raise(engine->wake.fd);
    return error;
}

int dsmproc_engine_settle(struct dsmproc_engine *engine) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SETTLE_SECONDS;
    pthread_mutex_lock(&engine->mutex);
    uint64_t given = engine->given;
    int error = 0;
    while (engine->done < given && !error)
        error = pthread_cond_timedwait(&engine->settled, &engine->mutex, &until);
    int refusal = engine->refusal;
    engine->refusal = 0;
    pthread_mutex_unlock(&engine->mutex);
    return error ? -error : refusal;
}

int dsmproc_engine_fd(struct dsmproc_engine *engine) {
    return engine->notice_fd;
}

int dsmproc_engine_notice(struct dsmproc_engine *engine, struct dsmproc_notice *notice) {
    pthread_mutex_lock(&engine->mutex);
    bool some = dsm_buffer_len(&engine->notices) > 0;
    if (some) {
        memcpy(notice, engine->notices.data + engine->notices.head, sizeof *notice);
        dsm_buffer_consume(&engine->notices, sizeof *notice);
    } else {
        dsm_eventfd_clear(engine->notice_fd);
    }
    pthread_mutex_unlock(&engine->mutex);
    return some;
}

void dsmproc_engine_stats(struct dsmproc_engine *engine, uint64_t *stats) {
    for (uint32_t i = 0; i < DSMPROC_STATS; i++)
        stats[i] = atomic_load(&engine->stats[i]);
    uint32_t locks = atomic_load(&engine->nlocks);
    for (uint32_t i = 0; i < locks; i++)
        stats[DSMPROC_STAT_LOCK_LOCAL] += atomic_load(&engine->agent.control->words[i].local);
    stats[DSMPROC_STAT_BYTES_SENT] += dsm_peers_traffic(engine); /* closed ones are counted */
}

void dsmproc_traffic(int fd, uint64_t *sent, uint64_t *received) {
    dsm_traffic(fd, sent, received);
}
