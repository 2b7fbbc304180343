// The names of this program's own functions, by address.

#ifndef TILESKIP_RUNNER_SYMBOL_TABLE_H_
#define TILESKIP_RUNNER_SYMBOL_TABLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "status.h"

namespace tileskip {

// Reads .symtab of an ELF file. Its addresses are those of the file; a program
// that the kernel loads elsewhere (PIE, static PIE) is moved by a load bias.
class SymbolTable {
 public:
  // The running program, through /proc/self/exe.
  static Result<SymbolTable> OfThisProgram();

  // The ELF file at `path`, of this machine's class and byte order, whose
  // addresses are moved by `bias`.
  static Result<SymbolTable> FromFile(const std::string& path, uintptr_t bias);

  // The name of the function that begins at `address`.
  std::optional<std::string> NameOf(const void* address) const;

  bool empty() const { return names_.empty(); }

 private:
  std::map<uintptr_t, std::string> names_;
};

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_SYMBOL_TABLE_H_
