/* Actions of the core, done exactly in their order, and a host's whole step: an event, its actions,
 * its results, its answers. The only place where protocol meets pages.
 */
#include "engine/engine.h"
#include "sys/net.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool in_message(struct dsmproc_engine *engine, const struct dsm_event *event, uint64_t off,
                       uint64_t len) {
    if (event->bytes && off + len <= event->len) return true;
    dsm_engine_fail(engine, "the protocol reads beyond a message: %llu + %llu of %u",
                    (unsigned long long)off, (unsigned long long)len, event->len);
    return false;
}

static void check_system(struct dsmproc_engine *engine, const char *what, int error) {
    if (error) dsm_engine_fail(engine, "%s: %s", what, strerror(-error));
}

/* The client that an action names, and where it has the pages. NULL: it went away. */
static struct dsm_client *find_client(struct dsmproc_engine *engine,
                                      const struct dsm_action *action,
                                      const struct dsm_pages *pages, uint64_t *address) {
    struct dsm_client *client =
        action->client < DSM_MAX_CLIENTS ? engine->agent.clients[action->client] : NULL;
    uint64_t start = client ? dsm_area_address(pages->area, client) : 0;
    *address = start + pages->offset;
    return start ? client : NULL;
}

static void act_map(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    uint64_t address;
    if (!dsm_pages_find(engine, action, action->count, &pages)) return;
    struct dsm_client *client = find_client(engine, action, &pages, &address);
    if (client) dsm_watch_map(engine, client, address, pages.bytes, action->flag == 1);
}

static void act_protect(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, action->count, &pages)) return;
    dsm_watch_protect(engine, pages.area, pages.offset, pages.bytes);
}

/* The wake-up is for threads parked on a write-protect fault: their page is gone, so nothing else
 * would end their wait (trap "parked writer"). They fault again. */
static void act_punch(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, action->count, &pages)) return;
    dsm_watch_hide(engine, pages.area, pages.offset, pages.bytes);
    check_system(engine, "cannot punch",
                 dsm_memory_punch(&pages.area->memory, pages.offset, pages.bytes));
    dsm_watch_punched(engine, pages.area, pages.offset, pages.bytes);
}

/* As a punch whose content comes back. Who touches the page meanwhile waits for its fault's
 * answer. */
static void act_close(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, action->count, &pages)) return;
    uint8_t *saved = malloc(pages.bytes);
    if (!saved) return check_system(engine, "no memory for pages", -ENOMEM);
    dsm_watch_hide(engine, pages.area, pages.offset, pages.bytes);
    memcpy(saved, pages.base, pages.bytes);
    check_system(engine, "cannot punch",
                 dsm_memory_punch(&pages.area->memory, pages.offset, pages.bytes));
    check_system(engine, "no memory for pages",
                 dsm_memory_fill(&pages.area->memory, pages.offset, saved, pages.bytes));
    free(saved);
    dsm_watch_punched(engine, pages.area, pages.offset, pages.bytes);
}

static void act_apply_kept(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, 1, &pages)) return;
    const uint8_t *diff = engine->out.bytes + action->off;
    if (dsm_diff_apply(pages.base, engine->agent.store.page_size, diff, action->len) != DSM_OK)
        dsm_engine_fail(engine, "a kept diff of page %llx is unsound",
                        (unsigned long long)action->id);
}

static void act_memory(struct dsmproc_engine *engine, const struct dsm_event *event,
                       const struct dsm_action *action) {
    struct dsm_pages pages;
    uint32_t count = action->kind == DSM_ACT_APPLY ? 1 : action->count;
    if (!dsm_pages_find(engine, action, count, &pages)) return;
    if (action->kind != DSM_ACT_APPLY) engine->agent.brought += count;
    if (action->kind == DSM_ACT_ZERO) {
        check_system(engine, "no memory for pages",
                     dsm_memory_ensure(&pages.area->memory, pages.offset, pages.bytes));
    } else if (action->kind == DSM_ACT_FILL) {
        if (in_message(engine, event, action->off, pages.bytes))
            check_system(engine, "no memory for pages",
                         dsm_memory_fill(&pages.area->memory, pages.offset,
                                         event->bytes + action->off, pages.bytes));
    } else if (in_message(engine, event, action->off, action->len)) {
        const uint8_t *diff = event->bytes + action->off;
        if (dsm_diff_apply(pages.base, engine->agent.store.page_size, diff, action->len) != DSM_OK)
            engine->malformed = true;
        else if (action->flag == 1)
            dsm_store_apply(&engine->agent.store, action->id, diff, action->len);
    }
}

static void act_twin(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, action->count, &pages)) return;
    struct dsm_store *store = &engine->agent.store;
    engine->agent.brought += action->count;
    for (uint32_t i = 0; i < action->count; i++)
        check_system(
            engine, "no memory for a twin",
            dsm_store_twin(store, action->id + i, pages.base + (uint64_t)i * store->page_size));
}

static void act_compare(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, 1, &pages)) return;
    struct dsm_store *store = &engine->agent.store;
    uint32_t len = 0;
    int error = 0;
    if (action->flag == DSM_COMPARE_LOOK)
        len = dsm_store_differs(store, action->id, pages.base);
    else
        error = dsm_store_compare(store, action->id, pages.base, action->flag == 1, &len);
    check_system(engine, "no memory for a diff", error);
    struct dsm_event event = {.kind = DSM_EV_DIFFED, .id = action->id, .arg = len};
    if (len && action->flag != DSM_COMPARE_LOOK) { /* it stays where it is until UNDIFF */
        event.bytes = dsm_store_kept(store, action->id);
        event.len = len;
    }
    dsm_events_result(engine, &event);
}

static void act_forget(struct dsmproc_engine *engine, const struct dsm_action *action) {
    for (uint32_t i = 0; i < action->count; i++) {
        if (action->kind == DSM_ACT_UNTWIN)
            dsm_store_untwin(&engine->agent.store, action->id + i);
        else
            dsm_store_undiff(&engine->agent.store, action->id + i);
    }
}

static void act_merge(struct dsmproc_engine *engine, const struct dsm_event *event,
                      const struct dsm_action *action) {
    struct dsm_pages pages;
    if (!dsm_pages_find(engine, action, 1, &pages)) return;
    if (!in_message(engine, event, action->off, pages.bytes)) return;
    dsm_store_merge(&engine->agent.store, action->id, pages.base, event->bytes + action->off,
                    action->flag == 1);
}

static void act_poison(struct dsmproc_engine *engine, const struct dsm_action *action) {
    struct dsm_pages pages;
    uint64_t address;
    if (!dsm_pages_find(engine, action, 1, &pages)) return;
    struct dsm_client *client = find_client(engine, action, &pages, &address);
    if (!client) return;
    struct dsmproc_notice notice = {
        .kind = DSMPROC_NOTE_POISONED, .id = action->id, .host = action->host, .pid = client->pid};
    dsm_engine_note(engine, &notice);
    dsm_watch_poison(engine, client, address, pages.bytes);
}

/* Append a message and the payload of the actions behind it; returns how many those are. A peer
 * that is lost takes nothing. */
static uint32_t act_send(struct dsmproc_engine *engine, const struct dsm_action *action,
                         uint32_t left) {
    struct dsm_peer *peer = dsm_peer_find(engine, action->host, action->channel);
    if (!peer || action->count > left) {
        dsm_engine_fail(engine, "the protocol sends to host %u, channel %u, %u parts of %u",
                        action->host, action->channel, action->count, left);
        return left;
    }
    struct dsm_buffer *out = peer->lost ? &engine->agent.sink : &peer->out;
    ssize_t mark = dsm_frame_open(out);
    int error = mark < 0 ? (int)mark : 0;
    if (!error) error = dsm_buffer_append(out, engine->out.bytes + action->off, action->len);
    uint32_t packed = 0;
    if (!error) error = dsm_pages_pack(engine, action + 1, action->count, out, &packed);
    if (!error) error = dsm_frame_close(out, (size_t)mark, packed, &peer->sealing);
    check_system(engine, "cannot build a message", error);
    if (error) return action->count;
    if (peer->lost) {
        dsm_buffer_consume(out, dsm_buffer_len(out));
    } else {
        peer->fresh = true;
        dsm_peer_queue(engine, peer);
        dsm_engine_count(engine, DSMPROC_STAT_FRAMES_SENT, 1);
        if (engine->ticking) dsm_engine_count(engine, DSMPROC_STAT_TICK_FRAMES, 1);
    }
    return action->count;
}

static void act_more(struct dsmproc_engine *engine, uint64_t microseconds) {
    if (!microseconds)
        engine->agent.more = true;
    else
        check_system(engine, "no timer", dsm_timer_once(engine->hold.fd, microseconds));
}

static void act_region_end(struct dsmproc_engine *engine, uint64_t id) {
    if (engine->options.role == DSMPROC_AGENT) return dsm_area_end(engine, id);
    struct dsmproc_notice notice = {.kind = DSMPROC_NOTE_REGION_END, .id = id};
    dsm_engine_note(engine, &notice);
}

static void act_tell(struct dsmproc_engine *engine, uint32_t kind,
                     const struct dsm_action *action) {
    struct dsmproc_notice notice = {
        .kind = kind, .host = action->host, .id = action->id, .arg = action->arg};
    dsm_engine_note(engine, &notice);
}

static void act(struct dsmproc_engine *engine, const struct dsm_event *event,
                const struct dsm_action *action) {
    switch (action->kind) {
    case DSM_ACT_MAP:
        return act_map(engine, action);
    case DSM_ACT_PROTECT:
        return act_protect(engine, action);
    case DSM_ACT_PUNCH:
        return act_punch(engine, action);
    case DSM_ACT_ZERO:
    case DSM_ACT_FILL:
    case DSM_ACT_APPLY:
        return act_memory(engine, event, action);
    case DSM_ACT_CLOSE:
        return act_close(engine, action);
    case DSM_ACT_APPLY_KEPT:
        return act_apply_kept(engine, action);
    case DSM_ACT_TWIN:
        return act_twin(engine, action);
    case DSM_ACT_COMPARE:
        return act_compare(engine, action);
    case DSM_ACT_UNTWIN:
    case DSM_ACT_UNDIFF:
        return act_forget(engine, action);
    case DSM_ACT_MERGE:
        return act_merge(engine, event, action);
    case DSM_ACT_POISON:
        return act_poison(engine, action);
    case DSM_ACT_WORD:
        dsm_summary_show(engine);
        return dsm_locks_set(engine, action);
    case DSM_ACT_REPLY:
        return dsm_conns_reply(engine, action->req, action->flag, action->arg);
    case DSM_ACT_REGION:
        return check_system(engine, "no memory for a region",
                            dsm_area_make(engine, action->id, action->arg));
    case DSM_ACT_REGION_END:
        return act_region_end(engine, action->id);
    case DSM_ACT_CUT:
        return act_tell(engine, DSMPROC_NOTE_CUT, action);
    case DSM_ACT_OWNER_DIED:
        return act_tell(engine, DSMPROC_NOTE_OWNER_DIED, action);
    case DSM_ACT_MORE:
        return act_more(engine, action->arg);
    case DSM_ACT_COUNT:
        return dsm_engine_count(engine, action->flag, action->arg);
    default:
        dsm_engine_fail(engine, "the protocol asks for action %u", action->kind);
    }
}

void dsm_execute(struct dsmproc_engine *engine, const struct dsm_event *event) {
    uint32_t count = engine->out.nactions;
    for (uint32_t i = 0; i < count && !engine->failed; i++) {
        const struct dsm_action *action = &engine->out.actions[i];
        if (action->kind == DSM_ACT_SEND)
            i += act_send(engine, action, count - i - 1);
        else
            act(engine, event, action);
    }
}

/* ---- a step of the host's protocol ------------------------------------------------------- */

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

void dsm_execute_step(struct dsmproc_engine *engine, const struct dsm_event *event) {
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

void dsm_execute_later(struct dsmproc_engine *engine) {
    struct dsm_buffer *queue = &engine->agent.later;
    while (dsm_buffer_len(queue) && !engine->failed) {
        struct dsm_later later;
        memcpy(&later, queue->data + queue->head, sizeof later);
        dsm_buffer_consume(queue, sizeof later);
        if (later.event.len) later.event.bytes = later.bytes;
        dsm_execute_step(engine, &later.event);
    }
}
