/* Requests that wait: a job is what is left to be done of one. */
#include "core/host/host.h"

void dsm_count(struct dsm_host *host, uint32_t kind, uint64_t by) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_COUNT);
    action->flag = kind;
    action->arg = by;
}

void dsm_reply(struct dsm_host *host, uint64_t req, uint32_t status, uint64_t arg) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_REPLY);
    action->req = req;
    action->flag = status;
    action->arg = arg;
}

dsm_ref dsm_job_new(struct dsm_host *host, struct dsm_job job) {
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof job);
    *(struct dsm_job *)dsm_at(host, ref) = job;
    if (job.req) dsm_map_put(&host->arena, &host->requests, job.req, ref);
    return ref;
}

void dsm_job_free(struct dsm_host *host, dsm_ref ref) {
    const struct dsm_job *job = dsm_at(host, ref);
    if (dsm_map_get(&host->arena, &host->requests, job->req) == ref)
        dsm_map_drop(&host->arena, &host->requests, job->req);
    dsm_arena_give(&host->arena, ref, sizeof *job);
}

void dsm_job_reply(struct dsm_host *host, dsm_ref ref, uint32_t status, uint64_t arg) {
    const struct dsm_job *job = dsm_at(host, ref);
    if (dsm_map_get(&host->arena, &host->requests, job->req) == ref)
        dsm_reply(host, job->req, status, arg);
    dsm_job_free(host, ref);
}
