/* Runs: what one fault brings for the pages behind it.
 *
 * Faults that follow each other make a *row*; each fault at the end of what the last one brought may
 * bring eight times as much (1, 8, 64 pages), up to config.most pages (and the end of a chunk, so
 * that the records of a run stand side by side). Reads bring copies and mappings, writes *open*
 * pages: they are dirty and writable without having been written. Rows go up or down: the C library
 * copies large arrays downwards when source and destination lie alike in their pages.
 *
 * Pages that a read row used together are *chained*: when they are wanted again after they were
 * invalidated, the row's first fault brings them all. The chain is made anew each time, by the fault
 * behind it, so that it ends where its use does.
 *
 * A row upwards at its full length also asks *ahead*: once it has used some, for the pages of its
 * chunk that live at other homes, and when it has used config.ahead pages, for half of what it used,
 * at most config.ahead behind what its fault brought. Who works on a band of an array does not want
 * the next band, which another host may be writing. Such copies come on the bulk connection and are
 * mapped by a fault of their own, so that it is known which were used: one that is thrown away
 * unused is not asked for again by anything but a fault of its own. Where that fault is
 * quicker than the network, all that comes with its page is brought, and the row goes on behind it.
 *
 * An opened page is looked at before a publish says anything about it:
 *
 *   opened ──look: differs──► as any written page (claimed, announced)
 *      └──look: equal──► protected, looked at again ──equal──► as before it was opened
 *                                      └──differs──► as any written page
 *
 * The second look is the one that counts: only of a protected page can it be said that it was not
 * written (and nothing but its twin was given meanwhile: LENT). The first one spares the written
 * pages their protection. A page with a home elsewhere needs neither, its comparison tells as much. A
 * page opened in vain is not opened by a run again until a write fault of its own shows that it is
 * used.
 */
#include <assert.h>

#include "core/host/host.h"

enum { GROWTH = 8, SOME = 3 };

/* ---- rows -------------------------------------------------------------------------------- */

static bool goes_on(const struct dsm_row *row, uint64_t id) {
    bool up = row->last <= id && id <= row->next;
    bool down = row->low <= id + 1 && id <= row->last;
    if (row->length == 1) return up || down; /* its direction is open */
    return row->down ? down : up;
}

static struct dsm_row *find_row(struct dsm_host *host, uint64_t id, bool write) {
    struct dsm_row *oldest = &host->rows[0];
    for (uint32_t i = 0; i < DSM_ROWS; i++) {
        struct dsm_row *row = &host->rows[i];
        if (row->length && row->write == write && goes_on(row, id)) return row;
        if (row->used < oldest->used) oldest = row;
    }
    *oldest = (struct dsm_row){.write = write, .first = id, .low = id};
    return oldest;
}

static void grow(struct dsm_host *host, struct dsm_row *row, bool down) {
    row->down = down;
    row->goes_on = true;
    row->length *= GROWTH;
    if (row->length > host->config.most) row->length = host->config.most;
}

/* The row came from the fault before to this page, by all pages between. */
static void chain(const struct dsm_host *host, uint64_t from, uint64_t to) {
    while (++from <= to) {
        struct dsm_page *page = dsm_page_there(host, from);
        if (page) page->run |= DSM_CHAINED;
    }
}

/* How many pages a row that begins here brings: the chain is used up. */
static uint32_t unchain(const struct dsm_host *host, uint64_t id) {
    struct dsm_page *page = dsm_page_there(host, id);
    if (!page || page->state != DSM_ABSENT) return 1;
    uint32_t count = 1, room = dsm_run_room(host, page, host->config.most);
    while (count < room && page[count].state == DSM_ABSENT && page[count].run & DSM_CHAINED)
        page[count++].run &= (uint8_t)~DSM_CHAINED;
    return count;
}

int32_t dsm_run_reach(struct dsm_host *host, uint64_t id, bool write) {
    if (host->config.most == 1) return 1;
    struct dsm_row *row = find_row(host, id, write);
    row->goes_on = false;
    if (!row->length)
        row->length = write ? 1 : unchain(host, id);
    else if (id == row->next)
        grow(host, row, false);
    else if (id + 1 == row->low)
        grow(host, row, true);
    if (row->goes_on && !row->down && !write) chain(host, row->last, id);
    row->last = id;
    row->used = ++host->faults;
    host->row = row;
    dsm_run_brought(host, id, id + 1);
    return row->down ? -(int32_t)row->length : (int32_t)row->length;
}

void dsm_run_brought(struct dsm_host *host, uint64_t first, uint64_t end) {
    struct dsm_row *row = host->row;
    if (!row) return;
    if (end > row->next) row->next = end;
    if (first < row->low) row->low = first;
}

/* ---- reading ahead ----------------------------------------------------------------------- */

static bool is_wanted(const struct dsm_host *host, const struct dsm_page *page) {
    return page && page->state == DSM_ABSENT && !(page->flags & DSM_UNACKED) &&
           !(page->run & DSM_SHY) && !dsm_is_lost(host, page->home) &&
           !dsm_page_is_homeless(host, page);
}

/* Where the pages end that this fault's row wants. In its own chunk that may be more than the fault
 * brought: what lives at other homes. */
static uint64_t wanted_end(const struct dsm_host *host, const struct dsm_row *row) {
    uint64_t used = row->last - row->first, most = host->config.ahead;
    uint64_t end = row->last + row->length, chunk = (row->last | (DSM_CHUNK - 1)) + 1;
    if (used < SOME) return row->next;
    if (used < most) return end < chunk ? end : chunk;
    return row->next + (used / 2 < most ? used / 2 : most);
}

void dsm_run_ahead(struct dsm_host *host, const struct dsm_region *region) {
    const struct dsm_row *row = host->row;
    if (!row || row->down || !row->goes_on || row->length < host->config.most) return;
    uint64_t index = (uint32_t)row->next, end = (uint32_t)wanted_end(host, row);
    if (end > region->pages) end = region->pages;
    for (uint32_t count; index < end; index += count) {
        struct dsm_page *page = dsm_page_known(host, region, (uint32_t)index);
        count = page ? 1 : DSM_CHUNK - (uint32_t)index % DSM_CHUNK; /* the chunk is all zero */
        if (!is_wanted(host, page)) continue;
        uint32_t room = dsm_run_room(host, page, (uint32_t)(end - index));
        while (count < room && is_wanted(host, &page[count]) && page[count].home == page->home)
            count++;
        for (uint32_t i = 0; i < count; i++)
            page[i].run |= DSM_AHEAD;
        dsm_page_get(host, page, count, DSM_BULK);
    }
}

void dsm_run_used(struct dsm_page *first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        first[i].run &= (uint8_t)~DSM_AHEAD;
}

void dsm_run_unused(struct dsm_page *page) {
    if (page->run & DSM_AHEAD) page->run |= DSM_SHY;
    page->run &= (uint8_t)~DSM_AHEAD;
}

uint32_t dsm_run_room(const struct dsm_host *host, const struct dsm_page *page, uint32_t length) {
    const struct dsm_region *region = dsm_at(host, page->region);
    uint32_t end = (page->index | (DSM_CHUNK - 1)) + 1;
    if (end > region->pages) end = region->pages;
    return length < end - page->index ? length : end - page->index;
}

struct dsm_run dsm_run_reached(const struct dsm_host *host, const struct dsm_page *page,
                               int32_t reach) {
    struct dsm_run run = {page->index, page->index + 1};
    if (reach > 0) {
        run.end = page->index + dsm_run_room(host, page, (uint32_t)reach);
    } else if (reach < 0) {
        uint32_t behind = page->index % DSM_CHUNK, length = (uint32_t)-reach - 1;
        run.first = page->index - (length < behind ? length : behind);
    }
    return run;
}

bool dsm_run_is_hot(const struct dsm_host *host, const struct dsm_page *page) {
    return host->config.hot && page->hot >= host->config.hot && page->idle < 2;
}

/* ---- opening ----------------------------------------------------------------------------- */

static bool opens_with(const struct dsm_host *host, const struct dsm_page *first,
                       const struct dsm_page *page) {
    if (page->state != first->state || page->flags & (DSM_UNACKED | DSM_CLAIMED | DSM_HANDING))
        return false;
    if (page->state == DSM_ZERO && page->home == host->config.host) return false;
    if (dsm_feed_twins(host, page)) return false;
    return !(page->run & DSM_VAIN) || first->run & DSM_VAIN;
}

/* Narrow the run to the page and its likes beside it. */
static void narrow(const struct dsm_host *host, const struct dsm_page *page, struct dsm_run *run) {
    struct dsm_run reached = *run;
    *run = (struct dsm_run){page->index, page->index + 1};
    while (run->first > reached.first &&
           opens_with(host, page, page - (page->index - run->first) - 1))
        run->first--;
    while (run->end < reached.end && opens_with(host, page, page + (run->end - page->index)))
        run->end++;
}

struct dsm_run dsm_run_open(struct dsm_host *host, struct dsm_page *page, int32_t reach) {
    uint32_t before = page->state;
    bool home = before == DSM_HOME;
    struct dsm_run run = dsm_run_reached(host, page, reach);
    narrow(host, page, &run);
    struct dsm_page *first = page - (page->index - run.first);
    struct dsm_page *end = page + (run.end - page->index);
    for (struct dsm_page *at = first; at < end; at++) {
        if (before == DSM_ZERO) dsm_page_act(host, DSM_ACT_ZERO, at);
        if (before == DSM_CLEAN || (home && (at != page || dsm_feed_twins(host, at))))
            dsm_page_act(host, DSM_ACT_TWIN, at);
    }
    uint64_t id = dsm_page_id(host, first);
    dsm_run_brought(host, id, id + (run.end - run.first));
    for (struct dsm_page *at = first; at < end; at++) {
        at->state = home ? DSM_HOME_DIRTY : DSM_DIRTY;
        at->run &= (uint8_t) ~(DSM_VAIN | DSM_AHEAD | DSM_BARE);
        if (at != page) at->run |= DSM_OPENED;
        if (before == DSM_ZERO) at->run |= DSM_BARE;
        if (home && dsm_feed_twins(host, at)) at->run |= DSM_HOME_TWIN;
        dsm_page_dirtied(host, at);
    }
    return run;
}

/* ---- looking ----------------------------------------------------------------------------- */

static void look(struct dsm_host *host, struct dsm_page *page, uint8_t times) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_COMPARE);
    action->id = dsm_page_id(host, page);
    action->flag = DSM_COMPARE_LOOK;
    host->compare[host->ncompared++] =
        (struct dsm_compared){.page = dsm_ref_of(host, page), .look = times};
}

bool dsm_run_look(struct dsm_host *host, struct dsm_page *page) {
    bool dirty = page->state == DSM_DIRTY && page->home == DSM_NO_HOST;
    if (!(page->run & DSM_OPENED) || !(dirty || page->state == DSM_HOME_DIRTY)) return false;
    assert(host->ncompared < 2 * DSM_BATCH);
    look(host, page, 1);
    return true;
}

static void unopen(struct dsm_host *host, struct dsm_page *page, bool written) {
    page->run &= (uint8_t)~DSM_OPENED;
    if (!written) page->run |= DSM_VAIN;
    if (page->state == DSM_HOME_DIRTY) dsm_page_act(host, DSM_ACT_UNTWIN, page);
    if (written)
        dsm_publish_look_at(host, page);
    else
        page->state = page->state == DSM_HOME_DIRTY ? DSM_HOME : DSM_ZERO;
}

void dsm_run_looked(struct dsm_host *host, struct dsm_compared *result) {
    struct dsm_page *page = dsm_page_at(host, result->page);
    bool written = result->len != 0;
    result->len = 0;
    if (!written && result->look == 1 && DSM_RULE_ON(host, DSM_RULE_LOOK)) return; /* again */
    result->look = 2;
    unopen(host, page, written);
}

void dsm_run_look_again(struct dsm_host *host, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (host->compare[i].look == 1)
            dsm_page_act(host, DSM_ACT_PROTECT, dsm_page_at(host, host->compare[i].page));
    for (uint32_t i = 0; i < n; i++) /* what is written lies before what is still to be read */
        if (host->compare[i].look == 1) look(host, dsm_page_at(host, host->compare[i].page), 2);
}

void dsm_run_compared(struct dsm_page *page, bool written) {
    if (page->run & DSM_OPENED && !written) page->run |= DSM_VAIN;
    page->run &= (uint8_t)~DSM_OPENED;
}
