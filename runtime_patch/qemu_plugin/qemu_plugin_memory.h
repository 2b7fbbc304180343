// What trace.c needs of QEMU's plugin interface besides qemu_plugin_api.h: what
// machine is played, addresses of instructions, and of what they access.

#ifndef TILESKIP_QEMU_PLUGIN_QEMU_PLUGIN_MEMORY_H_
#define TILESKIP_QEMU_PLUGIN_QEMU_PLUGIN_MEMORY_H_

#include <stdbool.h>
#include <stdint.h>

#include "qemu_plugin_api.h"

struct qemu_info_t {
  const char* target_name;
  // More follows.
};

enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 };
// What an access is, packed.
typedef uint32_t qemu_plugin_meminfo_t;
typedef void (*qemu_plugin_vcpu_mem_cb_t)(unsigned int vcpu_index,
                                          qemu_plugin_meminfo_t info,
                                          uint64_t vaddr, void* userdata);

// The call comes after each access of the instruction, which may make several.
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn* insn,
                                      qemu_plugin_vcpu_mem_cb_t call,
                                      enum qemu_plugin_cb_flags flags,
                                      enum qemu_plugin_mem_rw rw,
                                      void* userdata);
// An access has 1 << this bytes.
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn* insn);

#endif  // TILESKIP_QEMU_PLUGIN_QEMU_PLUGIN_MEMORY_H_
