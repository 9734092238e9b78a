/* One event into the step of a host's protocol: its actions are done, its results fed, its answers
 * sent. */
#include "engine/engine.h"
#include <errno.h>
#include <string.h>

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
    dsm_summary_show(engine);
    if (!summary.busy) atomic_store(&control->busy, 0);
    atomic_store(&control->waiting, summary.waiting);
    if (engine->malformed) dsm_peer_drop(engine, event->host, DSM_FAST, EPROTO);
    engine->malformed = false;
    dsm_peers_stay(engine);
}

void dsm_step_feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    struct dsm_buffer *results = &engine->agent.results;
    if (!engine->failed) step(engine, event);
    while (dsm_buffer_len(results) && !engine->failed) {
        struct dsm_event result;
        memcpy(&result, results->data + results->head, sizeof result);
        dsm_buffer_consume(results, sizeof result);
        step(engine, &result);
    }
    dsm_conns_flush(engine);
}

void dsm_step_drain(struct dsmproc_engine *engine) {
    struct dsm_buffer *queue = &engine->agent.later;
    while (dsm_buffer_len(queue) && !engine->failed) {
        struct dsm_later later;
        memcpy(&later, queue->data + queue->head, sizeof later);
        dsm_buffer_consume(queue, sizeof later);
        if (later.event.len) later.event.bytes = later.bytes;
        dsm_step_feed(engine, &later.event);
    }
}
