/* What a host gives of homeless pages (homeless.c): the diffs that it keeps, and, where it is the
 * base, the page with what is in it.
 *
 * LENT (home.c): the diffs that are given are of intervals that were announced. Of a base that is
 * written the twin is given: what is written now may be written back before the next publish, and
 * would be in no diff. The twin may have own diffs that are not announced yet; whoever gets it gets
 * the diff again when it hears of it, before anything that happened after it.
 */
#include "core/host/history.h"
#include "core/host/host.h"

enum { AT_ONCE = 32 }; /* diffs in one answer: those of whole intervals */

void dsm_keep_diff(struct dsm_host *host, const struct dsm_page *page, const uint8_t *bytes,
                   uint32_t len) {
    struct dsm_history *history = dsm_history_make(host, dsm_page_id(host, page));
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof(struct dsm_kept) + len);
    struct dsm_kept *kept = dsm_at(host, ref);
    kept->host = (uint16_t)host->config.host;
    kept->interval = (uint32_t)host->notices + 1;
    kept->len = len;
    kept->tag = host->clock > host->seen ? host->clock : host->seen;
    if (!DSM_RULE_ON(host, DSM_RULE_TAGGED)) kept->tag = 0;
    for (uint32_t i = 0; i < len; i++)
        kept->bytes[i] = bytes[i];
    dsm_queue_push(host, &history->own, ref);
    host->kept += len;
    dsm_count(host, DSM_COUNT_BYTES_KEPT, len);
}

/* The first kept diff of the intervals after `from`, and how many go into one answer: those up to
 * `*upto`, or to an earlier interval's end. */
static dsm_ref pick(const struct dsm_host *host, const struct dsm_history *history, uint32_t from,
                    uint32_t *upto, uint32_t *n) {
    dsm_ref first = 0;
    uint32_t last = from;
    for (dsm_ref at = history->own.head; at; at = dsm_next(host, at)) {
        const struct dsm_kept *kept = dsm_at(host, at);
        if (kept->interval <= from) continue;
        if (kept->interval > *upto) break;
        if (*n >= AT_ONCE && kept->interval != last) {
            *upto = last;
            break;
        }
        if (!first) first = at;
        last = kept->interval;
        ++*n;
    }
    return first;
}

int dsm_keep_on_want(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t page = dsm_get64(cursor);
    uint32_t after = dsm_get32(cursor), upto = dsm_get32(cursor), bytes = 0;
    if (!dsm_cursor_done(cursor) || upto > host->notices) return DSM_E_PEER;
    const struct dsm_history *history = dsm_history_of(host, page);
    bool gone = !history || after < history->collected;
    uint32_t n = 0;
    dsm_ref first = gone ? 0 : pick(host, history, after, &upto, &n), at = first;
    uint32_t message = dsm_send(host->out, from, DSM_FAST, DSM_MSG_DIFFS);
    dsm_put64(host->out, page);
    dsm_put32(host->out, after);
    dsm_put32(host->out, upto);
    dsm_put8(host->out, gone);
    dsm_put16(host->out, n);
    for (uint32_t i = 0; i < n; i++, at = dsm_next(host, at)) {
        const struct dsm_kept *kept = dsm_at(host, at);
        dsm_put32(host->out, kept->interval);
        dsm_put64(host->out, kept->tag);
        dsm_put32(host->out, kept->len);
        bytes += kept->len;
    }
    at = first;
    for (uint32_t i = 0; i < n; i++, at = dsm_next(host, at))
        dsm_history_put(host, dsm_at(host, at));
    dsm_sent(host->out, message, 0);
    dsm_count(host, DSM_COUNT_DIFFS_SENT, n);
    dsm_count(host, DSM_COUNT_DIFF_BYTES, bytes);
    return DSM_OK;
}

/* A claim of this host that another one heard of before it. */
static bool is_base(const struct dsm_host *host, const struct dsm_page *page) {
    return page->home == host->config.host ||
           (page->home == DSM_NO_HOST && page->flags & DSM_CLAIMED);
}

/* What is in the copy here, of each writer; `history` may be NULL. Returns how many. */
static uint32_t put_sources(struct dsm_host *host, const struct dsm_history *history) {
    uint32_t n = 1, mine = (uint32_t)host->notices;
    if (history && history->mine < mine) mine = history->mine;
    dsm_put16(host->out, host->config.host);
    dsm_put32(host->out, mine);
    for (dsm_ref at = history ? history->sources : 0; at; at = dsm_next(host, at), n++) {
        const struct dsm_source *source = dsm_at(host, at);
        dsm_put16(host->out, source->host);
        dsm_put32(host->out, source->have);
    }
    return n;
}

int dsm_keep_on_want_base(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    const struct dsm_page *page = dsm_page_there(host, id);
    if (!page) return DSM_OK; /* the region has ended, for who asks too */
    if (!dsm_page_is_homeless(host, page)) return DSM_E_PEER;
    bool here = page->state == DSM_CLEAN || page->state == DSM_DIRTY || page->state == DSM_STALE;
    uint32_t how =
        is_base(host, page) ? (here ? DSM_BASE_HERE : DSM_BASE_LOST) : DSM_BASE_ELSEWHERE;
    if (how == DSM_BASE_ELSEWHERE && page->home == DSM_NO_HOST) return DSM_E_PEER;
    uint32_t message = dsm_send(host->out, from, DSM_FAST, DSM_MSG_BASE);
    dsm_put64(host->out, id);
    dsm_put8(host->out, how);
    dsm_put16(host->out, how == DSM_BASE_ELSEWHERE ? page->home : host->config.host);
    dsm_put32(host->out, page->epoch);
    uint32_t n_at = host->out->nbytes;
    dsm_put16(host->out, 0);
    if (how == DSM_BASE_HERE)
        dsm_patch16(host->out, n_at, put_sources(host, dsm_history_of(host, id)));
    dsm_sent(host->out, message, how == DSM_BASE_HERE);
    if (how != DSM_BASE_HERE) return DSM_OK;
    bool lent = page->state == DSM_DIRTY && DSM_RULE_ON(host, DSM_RULE_LENT);
    dsm_page_act(host, lent ? DSM_ACT_PAYLOAD_TWINS : DSM_ACT_PAYLOAD_PAGES, page);
    return DSM_OK;
}
