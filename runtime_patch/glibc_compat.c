// What code compiled against a new glibc asks of it and an older one does not
// have. Linked into the two libraries of a board whose file names a glibc;
// toolchain/build/glibc.py says why nothing else can be missing.
//
// TILESKIP_GLIBC_MINOR is the 31 of glibc 2.31.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// New in glibc 2.<minor>: the headers know it, the board does not.
#define LACKS(minor) \
  (TILESKIP_GLIBC_MINOR < (minor) && __GLIBC_PREREQ(2, minor))
#define IMPORT __attribute__((visibility("default")))
#pragma GCC visibility push(hidden)

#if LACKS(32)
// Never true, which is always safe: then libstdc++ counts with atomics.
char __libc_single_threaded;
#endif

#if LACKS(33)
// Before 2.33 these were inline calls of functions that were told which struct
// the caller was compiled with: the one that glibc and the kernel share on
// 64-bit Arm, and the first one after the kernel's own elsewhere.
#if defined(__aarch64__)
#define STAT_VERSION 0
#elif defined(__x86_64__)
#define STAT_VERSION 1
#elif defined(__arm__)
#define STAT_VERSION 3
#else
#error "which version of struct stat has this architecture?"
#endif

#define STAT_FUNCTIONS(suffix)                                         \
  IMPORT int __xstat##suffix(int, const char*, struct stat##suffix*);  \
  IMPORT int __lxstat##suffix(int, const char*, struct stat##suffix*); \
  IMPORT int __fxstat##suffix(int, int, struct stat##suffix*);         \
  int stat##suffix(const char* path, struct stat##suffix* facts) {     \
    return __xstat##suffix(STAT_VERSION, path, facts);                 \
  }                                                                    \
  int lstat##suffix(const char* path, struct stat##suffix* facts) {    \
    return __lxstat##suffix(STAT_VERSION, path, facts);                \
  }                                                                    \
  int fstat##suffix(int fd, struct stat##suffix* facts) {              \
    return __fxstat##suffix(STAT_VERSION, fd, facts);                  \
  }
STAT_FUNCTIONS()
STAT_FUNCTIONS(64)
#endif

#if LACKS(34) && defined(__arm__)
// Debian's ruy is compiled with a 64-bit time_t.
struct timespec64 {
  int64_t tv_sec;
  int32_t tv_nsec;
  int32_t padding;
};

int __clock_gettime64(clockid_t clock, struct timespec64* now) {
  struct timespec narrow;
  const int result = clock_gettime(clock, &narrow);
  if (result == 0) {
    *now = (struct timespec64){narrow.tv_sec, (int32_t)narrow.tv_nsec, 0};
  }
  return result;
}
#endif

#if LACKS(35)
// The unwinder's question: which object has this code, and where is its table?
struct Search {
  uintptr_t address;
  struct dl_find_object* found;
};

static int Look(struct dl_phdr_info* object, size_t size, void* data) {
  struct Search* search = data;
  (void)size;
  uintptr_t begin = UINTPTR_MAX, end = 0;
  const ElfW(Phdr)* table = NULL;
  int holds = 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)* segment = &object->dlpi_phdr[i];
    const uintptr_t from = object->dlpi_addr + segment->p_vaddr;
    const uintptr_t to = from + segment->p_memsz;
    if (segment->p_type == PT_LOAD) {
      if (search->address >= from && search->address < to) holds = 1;
      if (from < begin) begin = from;
      if (to > end) end = to;
    } else if (segment->p_type == DLFO_EH_SEGMENT_TYPE) {
      table = segment;
    }
  }
  if (!holds || table == NULL) return 0;
  struct dl_find_object* found = search->found;
  found->dlfo_flags = 0;
  found->dlfo_map_start = (void*)begin;
  found->dlfo_map_end = (void*)end;
  found->dlfo_link_map = NULL;
  found->dlfo_eh_frame = (void*)(object->dlpi_addr + table->p_vaddr);
#if DLFO_STRUCT_HAS_EH_DBASE
  found->dlfo_eh_dbase = NULL;
#endif
#if DLFO_STRUCT_HAS_EH_COUNT
  found->dlfo_eh_count = (int)(table->p_memsz / 8);
#endif
  return 1;
}

int _dl_find_object(void* address, struct dl_find_object* found) {
  struct Search search = {(uintptr_t)address, found};
  return dl_iterate_phdr(Look, &search) == 1 ? 0 : -1;
}
#endif

#if LACKS(36)
// Behind std::random_device.
uint32_t arc4random(void) {
  uint32_t bits;
  if (getentropy(&bits, sizeof(bits)) != 0) abort();
  return bits;
}
#endif

#pragma GCC visibility pop
