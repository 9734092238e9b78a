/* A master that hears anything from its hosts. */
#include "drive.h"

static int step(struct drive *drive, const struct dsm_event *event) {
    int status = dsm_master_step(drive->node, event, &drive->out);
    if (status != DSM_OK) return status;
    for (uint32_t i = 0; i < drive->out.nactions; i++) {
        const struct dsm_action *action = &drive->out.actions[i];
        assert(action->kind == DSM_ACT_SEND || action->kind == DSM_ACT_REGION_END ||
               action->kind == DSM_ACT_CUT);
        if (action->kind != DSM_ACT_SEND) continue;
        assert((uint64_t)action->off + action->len <= drive->out.nbytes);
        assert(action->host < DSM_MAX_HOSTS && action->count == 0);
    }
    return DSM_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct drive drive;
    struct dsm_event event;
    struct dsm_config config = drive_config(DSM_MASTER);
    drive_init(&drive, data, size);
    drive.node = dsm_master_init(drive.arena, ARENA, &config);
    for (int i = 0; i < EVENTS && drive_next(&drive, &event); i++) {
        if (event.kind == DSM_EV_REGION_MADE) event.arg &= 1023;
        if (drive_step(&drive, event, step) == DSM_OK) assert(dsm_master_check(drive.node) == 0);
    }
    return 0;
}
