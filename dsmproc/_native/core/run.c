/* Runs: what one fault brings for the pages behind it.
 *
 * Faults that follow each other make a *row*; each fault at the end of what the last one brought may
 * bring four times as much (1, 4, 16, 64 pages), up to config.most pages (and the end of a chunk, so
 * that the records of a run stand side by side). Reads bring copies and mappings, writes *open*
 * pages: they are dirty and writable without having been written.
 *
 * A row at its full length also asks *ahead*, for config.ahead pages behind what its fault brought.
 * Such copies come on the bulk connection and are mapped by a fault of their own, so that it is
 * known which were used: one that is thrown away unused is not asked for again by anything but a
 * fault of its own (trap k).
 *
 * An opened page is looked at before a publish says anything about it:
 *
 *   opened ──look: differs──► as any written page (claimed, announced)
 *      └──look: equal──► protected, looked at again ──equal──► as before it was opened
 *                                      └──differs──► as any written page
 *
 * The second look is the one that counts: only of a protected page can it be said that it was not
 * written. The first one spares the written pages their protection. A page with a home elsewhere
 * needs neither, its comparison tells as much. A page opened in vain is not opened by a run again
 * until a write fault of its own shows that it is used.
 */
#include <assert.h>

#include "core/host.h"

enum { GROWTH = 4 };

/* ---- rows -------------------------------------------------------------------------------- */

static struct dsm_row *find_row(struct dsm_host *host, uint64_t id, bool write) {
    struct dsm_row *oldest = &host->rows[0];
    for (uint32_t i = 0; i < DSM_ROWS; i++) {
        struct dsm_row *row = &host->rows[i];
        if (row->length && row->write == write && row->last <= id && id <= row->next) return row;
        if (row->used < oldest->used) oldest = row;
    }
    *oldest = (struct dsm_row){.write = write};
    return oldest;
}

uint32_t dsm_run_length(struct dsm_host *host, uint64_t id, bool write) {
    if (host->config.most == 1) return 1;
    struct dsm_row *row = find_row(host, id, write);
    if (id == row->next) row->length *= GROWTH;
    if (!row->length) row->length = 1;
    if (row->length > host->config.most) row->length = host->config.most;
    if (row->next <= id) row->next = id + 1;
    row->last = id;
    row->used = ++host->faults;
    host->row = row;
    return row->length;
}

void dsm_run_brought(struct dsm_host *host, uint64_t end) {
    if (host->row && end > host->row->next) host->row->next = end;
}

/* ---- reading ahead ----------------------------------------------------------------------- */

static bool is_wanted(const struct dsm_host *host, const struct dsm_page *page) {
    return page && page->state == DSM_ABSENT && !(page->flags & DSM_UNACKED) &&
           !(page->run & DSM_SHY) && !dsm_is_lost(host, page->home);
}

void dsm_run_ahead(struct dsm_host *host, const struct dsm_region *region) {
    if (!host->row || host->row->length < host->config.most) return;
    uint64_t index = (uint32_t)host->row->next, end = index + host->config.ahead;
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

bool dsm_run_is_hot(const struct dsm_host *host, const struct dsm_page *page) {
    return host->config.hot && page->hot >= host->config.hot && page->idle < 2;
}

/* ---- opening ----------------------------------------------------------------------------- */

static bool opens_with(const struct dsm_host *host, const struct dsm_page *first,
                       const struct dsm_page *page) {
    if (page->state != first->state || page->flags & (DSM_UNACKED | DSM_CLAIMED | DSM_HANDING))
        return false;
    if (page->state == DSM_ZERO && page->home == host->config.host) return false;
    if (page->run & DSM_BOUND) return false;
    return !(page->run & DSM_VAIN) || first->run & DSM_VAIN;
}

uint32_t dsm_run_open(struct dsm_host *host, struct dsm_page *page, uint32_t length) {
    uint32_t count = 1, before = page->state;
    bool home = before == DSM_HOME;
    length = dsm_run_room(host, page, length);
    while (count < length && opens_with(host, page, &page[count]))
        count++;
    for (uint32_t i = 0; i < count; i++) {
        if (before == DSM_ZERO) dsm_page_act(host, DSM_ACT_ZERO, &page[i]);
        if (before == DSM_CLEAN || (home && (i > 0 || page[i].run & DSM_BOUND)))
            dsm_page_act(host, DSM_ACT_TWIN, &page[i]);
    }
    dsm_run_brought(host, dsm_page_id(host, page) + count);
    for (uint32_t i = 0; i < count; i++) {
        page[i].state = home ? DSM_HOME_DIRTY : DSM_DIRTY;
        page[i].run &= (uint8_t) ~(DSM_VAIN | DSM_AHEAD | DSM_BARE);
        if (i > 0) page[i].run |= DSM_OPENED;
        if (before == DSM_ZERO) page[i].run |= DSM_BARE;
        if (home && page[i].run & DSM_BOUND) page[i].run |= DSM_HOME_TWIN;
        dsm_page_dirtied(host, &page[i]);
    }
    return count;
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
