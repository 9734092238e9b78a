/* An opened page (run.c) is looked at before a publish says anything about it:
 *
 *   opened ──look: differs──► as any written page (claimed, announced)
 *      └──look: equal──► protected, looked at again ──equal──► as before it was opened
 *                                      └──differs──► as any written page
 *
 * The second look is the one that counts: only of a protected page can it be said that it was not
 * written (and nothing but its twin was given meanwhile: LENT). The first one spares the written
 * pages their protection. A page with a home elsewhere needs neither, its comparison tells as much.
 * A page opened in vain is not opened by a run again until a write fault of its own shows that it
 * is used.
 */
#include <assert.h>

#include "core/host/host.h"

static void look(struct dsm_host *host, struct dsm_page *page, uint8_t times) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_COMPARE);
    action->id = dsm_page_id(host, page);
    action->flag = DSM_COMPARE_LOOK;
    host->compare[host->ncompared++] =
        (struct dsm_compared){.page = dsm_ref_of(host, page), .look = times};
}

bool dsm_look_at(struct dsm_host *host, struct dsm_page *page) {
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
        dsm_written_look_at(host, page);
    else
        page->state = page->state == DSM_HOME_DIRTY ? DSM_HOME : DSM_ZERO;
}

void dsm_look_looked(struct dsm_host *host, struct dsm_compared *result) {
    struct dsm_page *page = dsm_page_at(host, result->page);
    bool written = result->len != 0;
    result->len = 0;
    if (!written && result->look == 1 && DSM_RULE_ON(host, DSM_RULE_LOOK)) return; /* again */
    result->look = 2;
    unopen(host, page, written);
}

void dsm_look_again(struct dsm_host *host, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (host->compare[i].look == 1)
            dsm_page_act(host, DSM_ACT_PROTECT, dsm_page_at(host, host->compare[i].page));
    for (uint32_t i = 0; i < n; i++) /* what is written lies before what is still to be read */
        if (host->compare[i].look == 1) look(host, dsm_page_at(host, host->compare[i].page), 2);
}

void dsm_look_compared(struct dsm_page *page, bool written) {
    if (page->run & DSM_OPENED && !written) page->run |= DSM_VAIN;
    page->run &= (uint8_t)~DSM_OPENED;
}
