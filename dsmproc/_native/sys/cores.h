/* What a thread that spins before it sleeps must know: the time, and who else runs. */
#ifndef DSM_SYS_CORES_H
#define DSM_SYS_CORES_H
#include <stdint.h>

uint64_t dsm_clock_ns(void);
/* Cores that this process may run on. */
uint32_t dsm_cores(void);
/* Threads of this machine that run or could; 0: not known. */
uint32_t dsm_runnable(void);
/* Let others run on this core, if any wants to. */
void dsm_yield(void);

#endif
