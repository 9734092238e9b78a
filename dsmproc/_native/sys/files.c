#include "sys/files.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

uint64_t dsm_files_scarce(uint32_t spare) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return 0;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (lowest < 0) return (uint64_t)limit.rlim_cur;
    close(lowest);
    return (rlim_t)lowest + spare >= limit.rlim_cur ? (uint64_t)limit.rlim_cur : 0;
}
