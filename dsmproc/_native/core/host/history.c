/* What a host knows of a homeless page (homeless.c): its writers and their intervals, the diffs
 * that are kept, and who waits for the copy.
 */
#include "core/host/history.h"
#include "core/host/host.h"

enum { ALL = UINT32_MAX };

uint64_t dsm_history_room(const struct dsm_host *host, uint32_t n) {
    return (uint64_t)n * sizeof(struct dsm_history) + 64ULL * (host->histories.count + n + 8);
}

uint64_t dsm_history_keep_room(const struct dsm_host *host) {
    return dsm_history_room(host, 1) + 2 * sizeof(struct dsm_kept);
}

struct dsm_history *dsm_history_make(struct dsm_host *host, uint64_t page) {
    struct dsm_history *history = dsm_history_of(host, page);
    if (history) return history;
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof *history);
    history = dsm_at(host, ref);
    *history = (struct dsm_history){
        .page = page, .mine = ALL, .base = DSM_NO_HOST, .collector = DSM_NO_HOST};
    dsm_map_put(&host->arena, &host->histories, page, ref);
    return history;
}

struct dsm_source *dsm_history_source(const struct dsm_host *host,
                                      const struct dsm_history *history, uint32_t who) {
    for (dsm_ref at = history->sources; at; at = dsm_next(host, at)) {
        struct dsm_source *source = dsm_at(host, at);
        if (source->host == who) return source;
    }
    return NULL;
}

struct dsm_source *dsm_history_make_source(struct dsm_host *host, struct dsm_history *history,
                                           uint32_t who) {
    struct dsm_source *source = dsm_history_source(host, history, who);
    if (source) return source;
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof *source);
    source = dsm_at(host, ref);
    *source = (struct dsm_source){.next = history->sources, .host = (uint16_t)who};
    history->sources = ref;
    return source;
}

bool dsm_history_behind(const struct dsm_host *host, const struct dsm_history *history) {
    for (dsm_ref at = history->sources; at; at = dsm_next(host, at)) {
        const struct dsm_source *source = dsm_at(host, at);
        if (source->have < source->need) return true;
    }
    return false;
}

uint32_t dsm_history_told(const struct dsm_host *host, uint64_t page, uint32_t who) {
    const struct dsm_history *history = dsm_history_of(host, page);
    const struct dsm_source *source = history ? dsm_history_source(host, history, who) : NULL;
    return source ? source->need : 0;
}

/* The first host that died with something that this one needs. */
uint32_t dsm_history_culprit(const struct dsm_host *host, const struct dsm_page *page) {
    const struct dsm_history *history = dsm_history_of(host, dsm_page_id(host, page));
    for (dsm_ref at = history ? history->sources : 0; at; at = dsm_next(host, at)) {
        const struct dsm_source *source = dsm_at(host, at);
        if (source->have < source->need && dsm_is_lost(host, source->host)) return source->host;
    }
    return page->home;
}

/* ---- kept diffs ------------------------------------------------------------------------ */

void dsm_history_put(struct dsm_host *host, const struct dsm_kept *kept) {
    for (uint32_t i = 0; i < kept->len; i++)
        dsm_put8(host->out, kept->bytes[i]);
}

void dsm_history_free(struct dsm_host *host, dsm_ref ref) {
    const struct dsm_kept *kept = dsm_at(host, ref);
    dsm_arena_give(&host->arena, ref, sizeof *kept + kept->len);
}

void dsm_history_drop(struct dsm_host *host, struct dsm_history *history, uint32_t upto) {
    uint32_t bytes = 0;
    while (history->own.head) {
        const struct dsm_kept *kept = dsm_at(host, history->own.head);
        if (kept->interval > upto) break;
        bytes += kept->len;
        history->collected = kept->interval;
        dsm_history_free(host, dsm_queue_pop(host, &history->own));
    }
    host->kept -= bytes;
    if (bytes) dsm_count(host, DSM_COUNT_BYTES_DROPPED, bytes);
}

/* ---- collectors ------------------------------------------------------------------------ */

/* A host that joined late is told nothing of what was before it, also not how much that was. */
bool dsm_history_observed(const struct dsm_host *host, const struct dsm_collector *collector) {
    if (!DSM_RULE_ON(host, DSM_RULE_STAMPED)) return true;
    return collector->stamp <= host->seen || collector->observe <= host->observe_done;
}

bool dsm_history_is_wanted(const struct dsm_host *host, uint64_t page) {
    for (dsm_ref at = host->collectors.head; at; at = dsm_next(host, at)) {
        const struct dsm_collector *collector = dsm_at(host, at);
        if (collector->page == page && dsm_history_observed(host, collector)) return true;
    }
    return false;
}

bool dsm_history_is_base(const struct dsm_host *host, const struct dsm_page *page) {
    if (page->home != host->config.host || page->state == DSM_LOST) return false;
    const struct dsm_history *history = dsm_history_of(host, dsm_page_id(host, page));
    return !history || history->collector == DSM_NO_HOST;
}

void dsm_history_collected(struct dsm_host *host, struct dsm_history *history) {
    dsm_leave_found(host); /* while it waited for the answer, a sweep passed the page by */
    history->collector = DSM_NO_HOST;
    history->adopted = 0;
    host->collecting--;
    host->shed = 0;
}
