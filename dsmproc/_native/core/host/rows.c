/* Rows: faults that follow each other, and what one of them may bring.
 *
 * Each fault at the end of what the last one brought may bring eight times as much (1, 8, 64
 * pages), up to config.most pages (and the end of a chunk, so that the records of a run stand side
 * by side). Rows go up or down: the C library copies large arrays downwards when source and
 * destination lie alike in their pages.
 *
 * Pages that a read row used together are *chained*: when they are wanted again after they were
 * invalidated, the row's first fault brings them all. The chain is made anew each time, by the
 * fault behind it, so that it ends where its use does.
 */
#include "core/host/host.h"

enum { GROWTH = 8 };

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
    uint32_t count = 1, room = dsm_row_room(host, page, host->config.most);
    while (count < room && page[count].state == DSM_ABSENT && page[count].run & DSM_CHAINED)
        page[count++].run &= (uint8_t)~DSM_CHAINED;
    return count;
}

int32_t dsm_row_reach(struct dsm_host *host, uint64_t id, bool write) {
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
    dsm_row_brought(host, id, id + 1);
    return row->down ? -(int32_t)row->length : (int32_t)row->length;
}

void dsm_row_brought(struct dsm_host *host, uint64_t first, uint64_t end) {
    struct dsm_row *row = host->row;
    if (!row) return;
    if (end > row->next) row->next = end;
    if (first < row->low) row->low = first;
}

/* ---- reach ----------------------------------------------------------------------------- */

uint32_t dsm_row_room(const struct dsm_host *host, const struct dsm_page *page, uint32_t length) {
    const struct dsm_region *region = dsm_at(host, page->region);
    uint32_t end = (page->index | (DSM_CHUNK - 1)) + 1;
    if (end > region->pages) end = region->pages;
    return length < end - page->index ? length : end - page->index;
}

struct dsm_run dsm_row_reached(const struct dsm_host *host, const struct dsm_page *page,
                               int32_t reach) {
    struct dsm_run run = {page->index, page->index + 1};
    if (reach > 0) {
        run.end = page->index + dsm_row_room(host, page, (uint32_t)reach);
    } else if (reach < 0) {
        uint32_t behind = page->index % DSM_CHUNK, length = (uint32_t)-reach - 1;
        run.first = page->index - (length < behind ? length : behind);
    }
    return run;
}

void dsm_row_used(struct dsm_page *first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        first[i].run &= (uint8_t)~DSM_AHEAD;
}

void dsm_row_unused(struct dsm_page *page) {
    if (page->run & DSM_AHEAD) page->run |= DSM_SHY;
    page->run &= (uint8_t)~DSM_AHEAD;
}
