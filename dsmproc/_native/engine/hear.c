/* What other hosts send: frames in, messages to whichever role this engine has, agent or master. */
#include "engine/engine.h"
#include "sys/net.h"
#include <errno.h>

enum { READ_BYTES = 64 << 10 };

void dsm_hear_event(struct dsmproc_engine *engine, const struct dsm_event *event) {
    if (dsm_engine_is_agent(engine))
        dsm_agent_feed(engine, event);
    else
        dsm_master_feed(engine, event);
}

static void message(struct dsmproc_engine *engine, struct dsm_peer *peer, const uint8_t *bytes,
                    uint32_t len) {
    struct dsm_event event = {.kind = DSM_EV_MESSAGE,
                              .host = peer->host,
                              .client = peer->channel,
                              .bytes = bytes,
                              .len = len};
    dsm_hear_event(engine, &event);
}

/* False if the peer talks nonsense. An empty message is a heartbeat. */
static bool hear(struct dsmproc_engine *engine, struct dsm_peer *peer, const uint8_t *body,
                 uint32_t len) {
    uint32_t packed = dsm_frame_packed(body);
    if (!packed) {
        if (len) message(engine, peer, body, len);
        return true;
    }
    struct dsm_buffer *whole = &engine->agent.unpacked;
    if (!dsm_pages_unpack(engine, body, len, packed)) return false;
    if (!engine->failed)
        message(engine, peer, whole->data + whole->head, (uint32_t)dsm_buffer_len(whole));
    dsm_buffer_consume(whole, dsm_buffer_len(whole));
    return true;
}

static void read_in(struct dsmproc_engine *engine, struct dsm_peer *peer) {
    const uint8_t *body;
    uint32_t len;
    size_t whole;
    int first = dsm_frame_first(&peer->in, &peer->checking, &body, &len, &whole);
    size_t missing = whole - dsm_buffer_len(&peer->in);
    size_t want = missing > READ_BYTES ? missing : READ_BYTES;
    ssize_t got = first < 0 ? first : dsm_net_receive(peer->source.fd, &peer->in, want);
    if (got == -EAGAIN) return;
    if (got <= 0)
        return dsm_peer_drop(engine, peer->host, peer->channel, got ? (int)-got : ECONNRESET);
    peer->heard = true;
    while ((first = dsm_frame_first(&peer->in, &peer->checking, &body, &len, &whole)) > 0) {
        if (!dsm_frame_genuine(&peer->in, &peer->checking, whole))
            return dsm_peer_drop(engine, peer->host, peer->channel, EBADMSG);
        if (!hear(engine, peer, body, len))
            return dsm_peer_drop(engine, peer->host, peer->channel, EPROTO);
        if (peer->source.fd < 0) return; /* it was dropped for that message */
        dsm_buffer_consume(&peer->in, whole);
    }
    if (first < 0) dsm_peer_drop(engine, peer->host, peer->channel, -first);
}

void dsm_hear_peer(struct dsmproc_engine *engine, struct dsm_peer *peer, uint32_t flags) {
    if (flags & DSM_READY_WRITE) dsm_peer_write(engine, peer);
    if (flags & DSM_READY_READ && peer->source.fd >= 0) read_in(engine, peer);
}
