/* How many files this process may still open. */
#ifndef DSM_SYS_FILES_H
#define DSM_SYS_FILES_H
#include <stdbool.h>
#include <stdint.h>

/* The limit, if fewer than `spare` are left (descriptors are given from the lowest on); else 0. */
uint64_t dsm_files_scarce(uint32_t spare);

#endif
