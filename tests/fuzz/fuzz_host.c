/* A host that hears anything from its peers and from the master. */
#include "drive.h"

/* Where the number of pages of a region is kept; NULL: it is not known. */
static uint64_t *pages_of(struct drive *drive, uint64_t id) {
    for (int i = 0; i < EVENTS; i++)
        if (drive->regions[i].pages && drive->regions[i].id == id) return &drive->regions[i].pages;
    return NULL;
}

static void make_region(struct drive *drive, uint64_t id, uint64_t pages) {
    int at = 0;
    assert(!pages_of(drive, id) && pages);
    while (drive->regions[at].pages)
        at++;
    drive->regions[at].id = id;
    drive->regions[at].pages = pages;
}

static void check_pages(struct drive *drive, const struct dsm_action *action) {
    uint64_t count = action->count ? action->count : 1;
    const uint64_t *pages = pages_of(drive, action->id >> 32);
    assert(pages && (action->id & UINT32_MAX) + count <= *pages);
}

static void check_action(struct drive *drive, const struct dsm_action *action,
                         const struct dsm_event *event) {
    uint64_t count = action->count;
    switch (action->kind) {
    case DSM_ACT_REGION:
        make_region(drive, action->id, action->arg);
        break;
    case DSM_ACT_REGION_END:
        assert(pages_of(drive, action->id));
        *pages_of(drive, action->id) = 0;
        break;
    case DSM_ACT_FILL:
        assert(event->kind == DSM_EV_MESSAGE && action->off + count * PAGE <= event->len);
        check_pages(drive, action);
        break;
    case DSM_ACT_MERGE:
        assert(event->kind == DSM_EV_MESSAGE && action->off + PAGE <= event->len);
        check_pages(drive, action);
        break;
    case DSM_ACT_APPLY:
        assert(event->kind == DSM_EV_MESSAGE);
        assert((uint64_t)action->off + action->len <= event->len);
        check_pages(drive, action);
        break;
    case DSM_ACT_APPLY_KEPT:
        check_pages(drive, action);
        assert((uint64_t)action->off + action->len <= drive->out.nbytes);
        break;
    case DSM_ACT_SEND:
        assert((uint64_t)action->off + action->len <= drive->out.nbytes);
        break;
    case DSM_ACT_PAYLOAD_PAGES:
    case DSM_ACT_PAYLOAD_TWINS:
    case DSM_ACT_MAP:
    case DSM_ACT_PROTECT:
    case DSM_ACT_PUNCH:
    case DSM_ACT_ZERO:
    case DSM_ACT_CLOSE:
    case DSM_ACT_TWIN:
    case DSM_ACT_COMPARE:
        check_pages(drive, action);
        break;
    default:
        break;
    }
}

static int step(struct drive *drive, const struct dsm_event *event) {
    int status = dsm_host_step(drive->node, event, &drive->out);
    if (status != DSM_OK) return status;
    struct dsm_event results[1024];
    uint32_t n = 0;
    for (uint32_t i = 0; i < drive->out.nactions; i++) {
        const struct dsm_action *action = &drive->out.actions[i];
        check_action(drive, action, event);
        bool asks = action->kind == DSM_ACT_WORD &&
                    (action->flag == DSM_WORD_TAKE || action->flag == DSM_WORD_SEIZE);
        if (action->kind != DSM_ACT_COMPARE && !asks) continue;
        assert(n < 1024);
        static const uint8_t diff[8]; /* it is only kept and sent on */
        uint32_t len = asks ? 0 : 2 + (action->id & 3);
        results[n++] = (struct dsm_event){.kind = asks ? DSM_EV_WORDED : DSM_EV_DIFFED,
                                          .id = action->id,
                                          .bytes = asks ? NULL : diff,
                                          .len = len,
                                          .arg = asks ? (action->id & 1) : len};
    }
    for (uint32_t i = 0; i < n; i++) {
        int fed = step(drive, &results[i]);
        assert(fed == DSM_OK);
    }
    return DSM_OK;
}

static bool is_ours(uint32_t kind) {
    return (kind >= DSM_EV_MESSAGE && kind <= DSM_EV_EVICT && kind != DSM_EV_DIFFED &&
            kind != DSM_EV_WORDED) ||
           kind == DSM_EV_CONSISTENT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct drive drive;
    struct dsm_event event;
    struct dsm_config config = drive_config(0);
    drive_init(&drive, data, size);
    drive.node = dsm_host_init(drive.arena, ARENA, &config);
    for (int i = 0; i < EVENTS && drive_next(&drive, &event); i++) {
        if (!is_ours(event.kind)) continue;
        bool region = event.kind == DSM_EV_ATTACH || event.kind == DSM_EV_DETACH;
        if (region) event.id &= 15;
        event.req = event.kind == DSM_EV_CANCEL ? event.arg : ++drive.used_req;
        if (drive_step(&drive, event, step) == DSM_OK) (void)dsm_host_check(drive.node);
    }
    return 0;
}
