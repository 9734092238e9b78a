/* What is done to one page, whatever it is done for: each makes the action or the message, and
 * keeps the record and the host's queues and counts in step with it.
 */
#include <assert.h>

#include "core/host/host.h"

void dsm_page_act(struct dsm_host *host, uint32_t kind, const struct dsm_page *page) {
    uint64_t id = dsm_page_id(host, page);
    struct dsm_out *out = host->out;
    if (out->nactions) {
        struct dsm_action *before = &out->actions[out->nactions - 1];
        if (before->kind == kind && before->id + before->count == id) {
            before->count++;
            return;
        }
    }
    struct dsm_action *action = dsm_act(out, kind);
    action->id = id;
    action->count = 1;
}

void dsm_page_map(struct dsm_host *host, const struct dsm_page *first, uint32_t count,
                  uint32_t client, bool writable) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_MAP);
    action->id = dsm_page_id(host, first);
    action->count = count;
    action->client = client;
    action->flag = writable;
}

void dsm_page_dirtied(struct dsm_host *host, struct dsm_page *page) {
    if (page->flags & DSM_IN_DIRTY) return;
    page->flags |= DSM_IN_DIRTY;
    dsm_queue_push(host, &host->dirty, dsm_ref_of(host, page));
    host->ndirty++;
}

void dsm_page_uncarry(struct dsm_host *host, struct dsm_page *page) {
    if (!page->carried) return;
    if (!(page->flags & DSM_UNACKED)) dsm_page_act(host, DSM_ACT_UNDIFF, page);
    page->carried = 0;
}

void dsm_page_owe(struct dsm_host *host, struct dsm_page *page, bool changed) {
    if (changed) {
        dsm_page_uncarry(host, page); /* it is not all of the change any more */
        page->flags |= DSM_CHANGED;
    }
    if (page->flags & DSM_IN_OWED) return;
    dsm_ref ref = dsm_ref_of(host, page);
    page->flags |= DSM_IN_OWED;
    page->owed_next = 0;
    if (host->owed_tail)
        dsm_page_at(host, host->owed_tail)->owed_next = ref;
    else
        host->owed_head = ref;
    host->owed_tail = ref;
    host->nowed++;
}

void dsm_page_wait(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write,
                   int32_t reach) {
    for (dsm_ref at = page->waiters; at; at = dsm_next(host, at)) {
        struct dsm_waiter *waiter = dsm_at(host, at);
        if (waiter->client != client) continue;
        waiter->write |= write;
        waiter->reach = reach;
        return;
    }
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof(struct dsm_waiter));
    *(struct dsm_waiter *)dsm_at(host, ref) = (struct dsm_waiter){
        .next = page->waiters, .client = client, .write = write, .reach = reach};
    page->waiters = ref;
}

void dsm_page_forget_waiters(struct dsm_host *host, struct dsm_page *page) {
    while (page->waiters) {
        dsm_ref ref = page->waiters;
        page->waiters = dsm_next(host, ref);
        dsm_arena_give(&host->arena, ref, sizeof(struct dsm_waiter));
    }
}

void dsm_page_settle_in(struct dsm_host *host, struct dsm_page *page) {
    if (page->state != DSM_ZERO || page->home != host->config.host) return;
    if (dsm_page_is_homeless(host, page)) return;
    dsm_page_act(host, DSM_ACT_ZERO, page);
    page->state = DSM_HOME;
    page->changes = 1;
    dsm_leave_found(host);
}

bool dsm_page_revalidate(struct dsm_host *host, struct dsm_page *page) {
    if (!(page->flags & DSM_INVALID_LATER)) return false;
    page->flags &= (uint16_t)~DSM_INVALID_LATER;
    host->invalid_later--;
    return true;
}

bool dsm_page_is_hot(const struct dsm_host *host, const struct dsm_page *page) {
    return host->config.hot && page->hot >= host->config.hot && page->idle < 2;
}

void dsm_page_close(struct dsm_host *host, struct dsm_page *page) {
    dsm_row_unused(page);
    dsm_page_act(host, DSM_ACT_CLOSE, page);
    page->state = DSM_STALE;
}

void dsm_page_came(struct dsm_host *host, struct dsm_page *page) {
    if (!(page->flags & DSM_AWAITED)) return;
    page->flags &= (uint16_t)~DSM_AWAITED;
    host->awaited--;
    dsm_leave_found(host);
}

/* ---- its diff -------------------------------------------------------------------------- */

void dsm_page_compare_as(struct dsm_host *host, struct dsm_page *page, struct dsm_compared how) {
    assert(host->ncompared < 2 * DSM_BATCH);
    dsm_page_uncarry(host, page);
    if (!how.keep) dsm_page_act(host, DSM_ACT_PROTECT, page);
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_COMPARE);
    action->id = dsm_page_id(host, page);
    action->flag = how.keep;
    how.page = dsm_ref_of(host, page);
    host->compare[host->ncompared++] = how;
}

void dsm_page_compare(struct dsm_host *host, struct dsm_page *page, bool early, bool keep) {
    assert(page->state == DSM_DIRTY);
    dsm_page_compare_as(host, page, (struct dsm_compared){.early = early, .keep = keep});
}

void dsm_page_send_kept(struct dsm_host *host, struct dsm_page *page) {
    uint32_t message = dsm_send(host->out, page->home, DSM_BULK, DSM_MSG_DIFF);
    dsm_put16(host->out, 1);
    dsm_put64(host->out, dsm_page_id(host, page));
    dsm_put32(host->out, page->diff);
    dsm_put32(host->out, page->kept);
    dsm_sent(host->out, message, 1);
    dsm_act(host->out, DSM_ACT_PAYLOAD_DIFF)->id = dsm_page_id(host, page);
    dsm_count(host, DSM_COUNT_DIFFS_SENT, 1);
    dsm_count(host, DSM_COUNT_DIFF_BYTES, page->kept);
}

/* ---- asking for it --------------------------------------------------------------------- */

void dsm_page_seek(struct dsm_host *host, struct dsm_page *page) {
    if (page->flags & DSM_SEEKING) return;
    page->flags |= DSM_SEEKING;
    host->seeking++;
    if (host->nseek == DSM_SLICE) dsm_page_seek_send(host);
    host->seek[host->nseek++] = dsm_page_id(host, page);
}

void dsm_page_seek_send(struct dsm_host *host) {
    uint32_t n = 0, message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_WHERE);
    uint32_t n_at = host->out->nbytes;
    dsm_put16(host->out, 0);
    for (uint32_t i = 0; i < host->nseek; i++) {
        const struct dsm_page *page = dsm_page_there(host, host->seek[i]);
        if (!page || !(page->flags & DSM_SEEKING)) continue;
        dsm_put64(host->out, host->seek[i]);
        dsm_put16(host->out, page->home);
        dsm_put32(host->out, page->epoch);
        n++;
    }
    dsm_patch16(host->out, n_at, n);
    dsm_sent(host->out, message, 0);
    host->nseek = 0;
}

void dsm_page_sought(struct dsm_host *host, struct dsm_page *page) {
    if (!(page->flags & DSM_SEEKING)) return;
    page->flags &= (uint16_t)~DSM_SEEKING;
    host->seeking--;
}
