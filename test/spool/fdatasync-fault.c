/* Preloaded by the fault tests: fdatasync fails with EIO from the FAULT_AFTERth call on, or each takes FAULT_DELAY_MS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long calls;

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  const char *after = getenv("FAULT_AFTER");
  if (after && atomic_fetch_add(&calls, 1) + 1 >= atol(after)) {
    errno = EIO;
    return -1;
  }
  const char *delay = getenv("FAULT_DELAY_MS");
  if (delay) usleep((useconds_t)atol(delay) * 1000);
  return real(fd);
}
