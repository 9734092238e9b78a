/* Comparing dirty pages with their twins, and what becomes of the diffs: they are sent to the
 * homes, or wait while the homes are asked for (move.c) or sought (recover.c).
 *
 * Invariants, by their rules (docs/protocol.md).
 *   ACK: a page is UNACKED from its comparison until the home has acknowledged the diff, or moved
 *   ONE_DIFF: at most one diff of a page is unacknowledged, and no GET of it is out meanwhile
 *   BYTES: diffs are byte-exact, and what was read once is both the diff and the new twin
 *   OWED: a page whose changes left the host is owed: the next publish announces it
 *   LENT (home.c): only a diff leaves a copy, and what was compared is the twin from then on, also
 *      where the page stays writable: a byte that is changed back later differs from that twin
 *   ZERO: a page that was ZERO before it was written, and is equal to that again, is ZERO
 *      again: its home may have gone without ever having had it, and then nobody could give it
 *   KEPT: a diff is kept until it is acknowledged; it travels between its host and one other,
 *      never by way of a third: a host that is not the page's home names it, and the diff is sent
 *      there. So when a host dies, it is known which diffs died with it
 */
#include <assert.h>

#include "core/host/history.h"
#include "core/host/host.h"
#include "core/policy/policy.h"

/* An acknowledgement names the number. */
static void number_diff(struct dsm_host *host, struct dsm_page *page, uint32_t len) {
    if (++host->diffs == 0) host->diffs = 1;
    page->diff = host->diffs;
    page->kept = len;
}

/* Bare: no notice has named it since it was ZERO, and no comparison has found a change. */
static bool is_zero_again(const struct dsm_host *host, const struct dsm_page *page,
                          const struct dsm_compared *result) {
    return page->run & DSM_BARE && !result->len && !result->early &&
           !dsm_page_is_homeless(host, page) && DSM_RULE_ON(host, DSM_RULE_ZERO);
}

/* May this host ask for the home of the page (move.c) instead of sending the diff of `len`
 * bytes? */
static bool may_take_home(const struct dsm_host *host, const struct dsm_page *page, uint32_t len) {
    const struct dsm_region *region = dsm_at(host, page->region);
    struct dsm_written written = {.diff = len,
                                  .page_size = host->config.page_size,
                                  .streak = page->streak,
                                  .patience = page->patience,
                                  .barrier = host->barrier};
    return !host->tight && page->changes && dsm_policy(region->policy)->takes(&written);
}

/* What the result means for the page; the diff, if there is one, is still to be sent. */
static void apply_result(struct dsm_host *host, struct dsm_compared *result) {
    struct dsm_page *page = dsm_page_at(host, result->page);
    if (result->look) {
        dsm_look_looked(host, result);
        return;
    }
    if (result->bound) {
        dsm_bound_looked(host, result);
        return;
    }
    dsm_look_compared(page, result->len != 0);
    bool zero = is_zero_again(host, page, result); /* ZERO */
    bool bare = zero && result->keep;
    if (result->len && dsm_page_is_homeless(host, page)) { /* it is kept already */
        if (page->hot < UINT8_MAX) page->hot++;
        page->idle = 0;
        result->len = 0;
        dsm_page_act(host, DSM_ACT_UNDIFF, page);
        dsm_page_owe(host, page, true);
    } else if (result->len) {
        if (page->hot < UINT8_MAX) page->hot++;
        page->idle = 0;
        if (!result->early)
            dsm_bound_owe(host, page, result->len); /* OWED */
        else if (DSM_RULE_ON(host, DSM_RULE_OWED))
            dsm_page_owe(host, page, true);
        if (DSM_RULE_ON(host, DSM_RULE_ACK) && !(page->flags & DSM_UNACKED)) {
            page->flags |= DSM_UNACKED; /* ACK, ONE_DIFF */
            host->unacked++;
        }
        number_diff(host, page, result->len);
        if (dsm_is_lost(host, page->home)) {
            result->len = 0;
            dsm_page_seek(host, page);
        }
        result->take = result->len && !result->early && may_take_home(host, page, result->len);
    } else if (page->idle < UINT8_MAX) {
        page->idle++;
    }
    if (!bare) page->run &= (uint8_t)~DSM_BARE;
    if (result->keep) {
        dsm_page_dirtied(host, page);
        return;
    }
    dsm_page_act(host, DSM_ACT_UNTWIN, page);
    page->state = zero ? DSM_ZERO : DSM_CLEAN;
    if (result->early && dsm_page_is_homeless(host, page)) {
        dsm_page_close(host, page);
    } else if (result->early) {
        dsm_page_act(host, DSM_ACT_PUNCH, page);
        page->state = DSM_ABSENT;
    }
}

/* One DIFF message to `home`: as many of the results from `from` on as fit in it. */
static void send_diffs(struct dsm_host *host, uint32_t home, uint32_t from) {
    uint32_t message = dsm_send(host->out, home, DSM_BULK, DSM_MSG_DIFF);
    uint32_t where = host->out->nbytes, n = 0, bytes = 0, picked[DSM_SLICE];
    dsm_put16(host->out, 0);
    for (uint32_t i = from; i < host->ncompared && n < DSM_SLICE; i++) {
        struct dsm_compared *result = &host->compare[i];
        struct dsm_page *page = dsm_page_at(host, result->page);
        if (!result->len || result->take || page->home != home) continue;
        dsm_put64(host->out, dsm_page_id(host, page));
        dsm_put32(host->out, page->diff);
        dsm_put32(host->out, result->len);
        bytes += result->len;
        result->len = 0;
        picked[n++] = i;
    }
    dsm_patch16(host->out, where, n);
    dsm_sent(host->out, message, n);
    for (uint32_t i = 0; i < n; i++)
        dsm_act(host->out, DSM_ACT_PAYLOAD_DIFF)->id =
            dsm_page_id(host, dsm_page_at(host, host->compare[picked[i]].page));
    dsm_count(host, DSM_COUNT_DIFFS_SENT, n);
    dsm_count(host, DSM_COUNT_DIFF_BYTES, bytes);
}

/* In place of the diffs, which are kept: a wish for the homes. */
static void send_takes(struct dsm_host *host, uint32_t home, uint32_t from) {
    uint32_t message = dsm_send(host->out, home, DSM_BULK, DSM_MSG_TAKE);
    uint32_t where = host->out->nbytes, n = 0;
    dsm_put16(host->out, 0);
    for (uint32_t i = from; i < host->ncompared; i++) {
        struct dsm_compared *result = &host->compare[i];
        struct dsm_page *page = dsm_page_at(host, result->page);
        if (!result->len || !result->take || page->home != home) continue;
        page->flags |= DSM_TAKING;
        result->len = 0;
        n++;
        dsm_put64(host->out, dsm_page_id(host, page));
        dsm_put32(host->out, page->changes);
    }
    dsm_patch16(host->out, where, n);
    dsm_sent(host->out, message, 0);
}

int dsm_flush_diffed(struct dsm_host *host, const struct dsm_event *event) {
    if (host->compared == host->ncompared) return DSM_E_EVENT;
    struct dsm_compared *result = &host->compare[host->compared];
    if (event->id != dsm_page_id(host, dsm_page_at(host, result->page))) return DSM_E_EVENT;
    struct dsm_page *page = dsm_page_at(host, result->page);
    if (event->arg && !result->look && !result->bound && dsm_page_is_homeless(host, page)) {
        uint64_t room = 2 * event->arg + dsm_history_keep_room(host);
        if (!event->bytes || event->len != event->arg) return DSM_E_EVENT;
        if (!dsm_arena_room(&host->arena, room)) return DSM_E_MEMORY;
        dsm_keep_diff(host, page, event->bytes, event->len);
    }
    result->len = (uint32_t)event->arg;
    if (++host->compared < host->ncompared) return DSM_OK;
    uint32_t n = host->ncompared;
    for (uint32_t i = 0; i < n; i++)
        apply_result(host, &host->compare[i]);
    for (uint32_t i = 0; i < n; i++)
        while (host->compare[i].len) {
            uint32_t home = dsm_page_at(host, host->compare[i].page)->home;
            if (host->compare[i].take)
                send_takes(host, home, i);
            else
                send_diffs(host, home, i);
        }
    host->compared = host->ncompared = 0;
    dsm_look_again(host, n);
    return DSM_OK;
}

/* ---- acknowledgements -------------------------------------------------------------------- */

void dsm_flush_acked(struct dsm_host *host, struct dsm_page *page) {
    page->flags &= (uint16_t)~DSM_UNACKED;
    host->unacked--;
    if (!page->carried) dsm_page_act(host, DSM_ACT_UNDIFF, page);
    if (page->state != DSM_FETCHING) page->kept = 0;
    if (dsm_page_revalidate(host, page)) dsm_page_invalidate(host, page);
    if (page->state == DSM_ABSENT && page->waiters) dsm_page_fetch(host, page, 1);
}

/* What the home says with its acknowledgement: who it is, and whether only we changed the page. */
static void learn(struct dsm_page *page, uint32_t from, uint32_t epoch, uint32_t changes) {
    if (epoch > page->epoch) {
        page->epoch = epoch;
        page->home = (uint16_t)from;
    }
    bool copy = page->state == DSM_CLEAN || page->state == DSM_DIRTY;
    bool alone = copy && page->changes && changes == page->changes + 1;
    if (alone && page->streak < UINT8_MAX) page->streak++;
    if (!alone) page->streak = 0;
    page->changes = alone ? changes : 0;
}

int dsm_flush_on_dack(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 20)
        return DSM_E_PEER;
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, dsm_get64(cursor));
        uint32_t number = dsm_get32(cursor), epoch = dsm_get32(cursor), changes = dsm_get32(cursor);
        if (!page || !(page->flags & DSM_UNACKED) || page->diff != number) continue;
        if (page->flags & (DSM_TAKING | DSM_SEEKING)) continue; /* no diff is out */
        if (page->flags & DSM_CHANGED) page->flags |= DSM_APPLIED;
        learn(page, from, epoch, changes);
        dsm_flush_acked(host, page);
    }
    return DSM_OK;
}

/* The diff came to a host that is not the page's home. A home names itself only when it is one for
 * good, so to go where the newer of the two epochs says leads there. */
static void try_elsewhere(struct dsm_host *host, struct dsm_page *page, uint32_t home,
                          uint32_t epoch) {
    if (epoch > page->epoch && home != host->config.host) {
        page->home = (uint16_t)home;
        page->epoch = epoch;
    }
    if (dsm_is_lost(host, page->home))
        dsm_page_seek(host, page);
    else
        dsm_page_send_kept(host, page);
}

int dsm_flush_on_elsewhere(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 18)
        return DSM_E_PEER;
    struct dsm_cursor check = *cursor;
    for (uint32_t i = 0; i < n; i++) {
        dsm_get64(&check);
        dsm_get32(&check);
        if (dsm_get16(&check) >= DSM_MAX_HOSTS) return DSM_E_PEER;
        dsm_get32(&check);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, dsm_get64(cursor));
        uint32_t number = dsm_get32(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        if (!page || !(page->flags & DSM_UNACKED) || page->diff != number) continue;
        if (!(page->flags & (DSM_TAKING | DSM_SEEKING))) try_elsewhere(host, page, home, epoch);
    }
    return DSM_OK;
}
