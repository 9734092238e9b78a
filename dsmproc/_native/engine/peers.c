/* Connections to other hosts and to the master: frames in, joined writes out. */
#include "engine/engine.h"
#include "sys/net.h"
#include "sys/traffic.h"
#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { PEERS = DSM_MAX_HOSTS + 1 };
/* More than this waiting for a peer means that it does not read: it is lost. */
static const size_t MAX_QUEUED = (size_t)1 << 30;

struct dsm_peer *dsm_peer_find(struct dsmproc_engine *engine, uint32_t host, uint32_t channel) {
    if (channel > DSM_BULK) return NULL;
    if (host == DSM_MASTER) return &engine->peers[DSM_MAX_HOSTS][DSM_FAST];
    return host < DSM_MAX_HOSTS ? &engine->peers[host][channel] : NULL;
}

void dsm_peers_init(struct dsmproc_engine *engine) {
    for (uint32_t i = 0; i < PEERS; i++)
        for (uint32_t channel = 0; channel < 2; channel++)
            engine->peers[i][channel] = (struct dsm_peer){
                .source = {.fd = -1, .kind = DSM_SOURCE_PEER},
                .host = i == DSM_MAX_HOSTS ? (uint32_t)DSM_MASTER : i,
                .channel = channel,
            };
}

static void close_one(struct dsmproc_engine *engine, struct dsm_peer *peer) {
    if (peer->source.fd >= 0) {
        dsm_loop_unwatch(engine->loop, &peer->source);
        uint64_t sent, received;
        pthread_mutex_lock(&engine->mutex); /* another thread may be in dsm_peers_traffic */
        dsm_traffic(peer->source.fd, &sent, &received);
        dsm_engine_count(engine, DSMPROC_STAT_BYTES_SENT, sent);
        close(peer->source.fd);
        peer->source.fd = -1;
        pthread_mutex_unlock(&engine->mutex);
    }
    dsm_buffer_free(&peer->in);
    dsm_buffer_free(&peer->out);
    peer->fresh = false;
    peer->lost = true;
}

void dsm_peer_drop(struct dsmproc_engine *engine, uint32_t host, uint32_t channel, int error) {
    for (uint32_t i = 0; i < 2; i++) {
        struct dsm_peer *peer = dsm_peer_find(engine, host, i);
        if (peer) close_one(engine, peer);
    }
    if (!error) return;
    struct dsmproc_notice notice = {
        .kind = DSMPROC_NOTE_PEER_LOST, .host = host, .channel = channel, .error = error};
    dsm_engine_note(engine, &notice);
}

/* What was queued before the connection came is sent first. */
int dsm_peer_add(struct dsmproc_engine *engine, const struct dsmproc_command *command) {
    struct dsm_peer *peer = dsm_peer_find(engine, command->host, command->channel);
    if (!peer) return -EINVAL;
    if (peer->source.fd >= 0) return -EEXIST;
    int error = dsm_net_prepare(command->fd);
    if (error) return error;
    peer->sealing = peer->checking = (struct dsm_seal){0};
    if (command->sealed) {
        dsm_seal_open(&peer->sealing, command->send_key);
        dsm_seal_open(&peer->checking, command->receive_key);
        error = dsm_frames_seal(&peer->out, &peer->sealing);
        if (error) return error;
    }
    pthread_mutex_lock(&engine->mutex);
    peer->source.fd = command->fd;
    peer->lost = peer->heard = false;
    peer->silent = 0;
    error = dsm_loop_watch(engine->loop, &peer->source);
    if (error) peer->source.fd = -1;
    pthread_mutex_unlock(&engine->mutex);
    if (dsm_buffer_len(&peer->out)) dsm_peer_queue(engine, peer);
    return error;
}

uint64_t dsm_peers_traffic(struct dsmproc_engine *engine) {
    uint64_t total = 0;
    pthread_mutex_lock(&engine->mutex);
    for (uint32_t i = 0; i < PEERS; i++)
        for (uint32_t channel = 0; channel < 2; channel++) {
            uint64_t sent = 0, received;
            if (engine->peers[i][channel].source.fd >= 0)
                dsm_traffic(engine->peers[i][channel].source.fd, &sent, &received);
            total += sent;
        }
    pthread_mutex_unlock(&engine->mutex);
    return total;
}

void dsm_peer_write(struct dsmproc_engine *engine, struct dsm_peer *peer) {
    if (peer->fresh) dsm_engine_count(engine, DSMPROC_STAT_MESSAGES_SENT, 1);
    peer->fresh = false;
    while (dsm_buffer_len(&peer->out)) {
        ssize_t sent = dsm_net_send(peer->source.fd, &peer->out);
        if (sent == -EAGAIN) break;
        if (sent < 0) return dsm_peer_drop(engine, peer->host, peer->channel, (int)-sent);
    }
    if (dsm_buffer_len(&peer->out) > MAX_QUEUED)
        return dsm_peer_drop(engine, peer->host, peer->channel, ENOBUFS);
    (void)dsm_loop_writing(engine->loop, &peer->source, dsm_buffer_len(&peer->out) > 0);
}

void dsm_peer_queue(struct dsmproc_engine *engine, struct dsm_peer *peer) {
    if (peer->queued) return;
    peer->queued = true;
    engine->queued[engine->nqueued++] = peer;
}

void dsm_peers_flush(struct dsmproc_engine *engine) {
    for (uint32_t i = 0; i < engine->nqueued; i++) {
        struct dsm_peer *peer = engine->queued[i];
        peer->queued = false;
        if (peer->source.fd < 0 || peer->source.writing || !dsm_buffer_len(&peer->out)) continue;
        dsm_peer_write(engine, peer);
    }
    engine->nqueued = 0;
}

/* A beat is counted when it is made, not by the clock: an engine that was stopped itself has not
 * listened meanwhile, and accuses nobody. Any byte is a sign of life, so a long transfer is one. */
static bool count_beat(struct dsmproc_engine *engine, struct dsm_peer *peer) {
    peer->silent = peer->heard ? 0 : peer->silent + 1;
    peer->heard = false;
    if (peer->silent < engine->options.silent_beats) return true;
    dsm_peer_drop(engine, peer->host, peer->channel, ETIMEDOUT);
    return false;
}

static void say_beat(struct dsmproc_engine *engine, struct dsm_peer *peer) {
    if (dsm_buffer_len(&peer->out)) return dsm_peer_write(engine, peer);
    ssize_t mark = dsm_frame_open(&peer->out);
    if (mark < 0) return;
    if (dsm_frame_close(&peer->out, (size_t)mark, 0, &peer->sealing)) return;
    dsm_peer_write(engine, peer);
}

static uint64_t coarse_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void beat(struct dsmproc_engine *engine, bool counting) {
    engine->last_beat = coarse_ms();
    for (uint32_t i = 0; i < PEERS; i++)
        for (uint32_t channel = 0; channel < 2; channel++) {
            struct dsm_peer *peer = &engine->peers[i][channel];
            if (peer->source.fd >= 0 && (!counting || count_beat(engine, peer)))
                say_beat(engine, peer);
        }
}

void dsm_peers_beat(struct dsmproc_engine *engine) {
    beat(engine, true);
}

void dsm_peers_stay(struct dsmproc_engine *engine) {
    uint32_t period = engine->options.beat_ms;
    if (period && coarse_ms() - engine->last_beat >= period) beat(engine, false);
}
