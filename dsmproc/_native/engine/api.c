/* What Python calls: an engine is started and stopped, commands go in, notices come out. */
#include "engine/engine.h"
#include "sys/traffic.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OUT_ACTIONS = 1 << 20, OUT_BYTES = 64 << 20, LEAST_ARENA = 64 << 20 };
enum { SETTLE_SECONDS = 5 }; /* a thread that failed does no more commands */

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
    return dsm_engine_is_agent(engine) ? dsm_agent_open(engine) : dsm_master_open(engine);
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
    if (dsm_engine_is_agent(engine)) dsm_agent_close(engine);
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
        error = -pthread_create(&made->thread, NULL, dsm_engine_run, made);
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

void dsmproc_frame_tag(const uint8_t *key, uint64_t number, const uint8_t *bytes, size_t len,
                       uint8_t *tag) {
    struct dsm_seal seal;
    dsm_seal_open(&seal, key);
    seal.number = number;
    dsm_seal_tag(&seal, bytes, len, tag);
}
