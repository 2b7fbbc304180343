#include "symbol_table.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace tileskip {
namespace {

using Header = ElfW(Ehdr);
using Segment = ElfW(Phdr);
using Section = ElfW(Shdr);
using Symbol = ElfW(Sym);

class ElfFile {
 public:
  explicit ElfFile(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~ElfFile() {
    if (fd_ >= 0) close(fd_);
  }
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  Status Open() {
    struct stat facts;
    if (fd_ < 0 || fstat(fd_, &facts) != 0) {
      return FileError(path_ + ": " + std::strerror(errno));
    }
    size_ = static_cast<uint64_t>(facts.st_size);
    std::vector<Header> header;
    if (!Read(0, 1, &header) ||
        std::memcmp(header[0].e_ident, ELFMAG, SELFMAG) != 0 ||
        header[0].e_ident[EI_CLASS] !=
            (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32)) {
      return FileError(path_ + ": is no ELF file of this machine");
    }
    header_ = header[0];
    return Status();
  }

  // Reads `count` records at `offset`; false if the file has not that many.
  template <typename T>
  bool Read(uint64_t offset, uint64_t count, std::vector<T>* records) const {
    if (offset > size_ || count > (size_ - offset) / sizeof(T)) return false;
    records->resize(count);
    char* target = reinterpret_cast<char*>(records->data());
    size_t left = count * sizeof(T);
    while (left > 0) {
      const ssize_t got = pread(fd_, target, left, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      target += got;
      offset += static_cast<uint64_t>(got);
      left -= static_cast<size_t>(got);
    }
    return true;
  }

  const Header& header() const { return header_; }

 private:
  const std::string path_;
  const int fd_;
  uint64_t size_ = 0;
  Header header_ = {};
};

// How far the kernel moved the running program: where its program headers lie
// in memory, less where the file puts them. 0 for a program at fixed addresses.
std::optional<uintptr_t> LoadBias(const ElfFile& file) {
  const uintptr_t in_memory = getauxval(AT_PHDR);
  std::vector<Segment> segments;
  if (in_memory == 0 ||
      !file.Read(file.header().e_phoff, file.header().e_phnum, &segments)) {
    return std::nullopt;
  }
  const uint64_t offset = file.header().e_phoff;
  for (const Segment& segment : segments) {
    if (segment.p_type == PT_LOAD && segment.p_offset <= offset &&
        offset - segment.p_offset < segment.p_filesz) {
      return in_memory - (segment.p_vaddr + (offset - segment.p_offset));
    }
  }
  return std::nullopt;
}

constexpr char kThisProgram[] = "/proc/self/exe";

}  // namespace

Result<SymbolTable> SymbolTable::OfThisProgram() {
  ElfFile file(kThisProgram);
  TILESKIP_RETURN_IF_ERROR(file.Open());
  const std::optional<uintptr_t> bias = LoadBias(file);
  if (!bias) {
    return FileError(std::string(kThisProgram) +
                     ": its load address cannot be found");
  }
  return FromFile(kThisProgram, *bias);
}

Result<SymbolTable> SymbolTable::FromFile(const std::string& path,
                                          uintptr_t bias) {
  ElfFile file(path);
  TILESKIP_RETURN_IF_ERROR(file.Open());
  const Status damaged = FileError(path + ": its symbol table is damaged");
  std::vector<Section> sections;
  if (!file.Read(file.header().e_shoff, file.header().e_shnum, &sections)) {
    return damaged;
  }
  SymbolTable table;
  for (const Section& section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    if (section.sh_link >= sections.size()) return damaged;
    const Section& string_section = sections[section.sh_link];
    std::vector<Symbol> symbols;
    std::vector<char> strings;
    if (!file.Read(section.sh_offset, section.sh_size / sizeof(Symbol),
                   &symbols) ||
        !file.Read(string_section.sh_offset, string_section.sh_size,
                   &strings) ||
        strings.empty() || strings.back() != '\0') {
      return damaged;
    }
    for (const Symbol& symbol : symbols) {
      // The macro is the same for both classes.
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC ||
          symbol.st_shndx == SHN_UNDEF || symbol.st_name >= strings.size()) {
        continue;
      }
      // The first name stays where two functions share one address.
      table.names_.emplace(bias + symbol.st_value,
                           strings.data() + symbol.st_name);
    }
  }
  return table;
}

std::optional<std::string> SymbolTable::NameOf(const void* address) const {
  const auto found = names_.find(reinterpret_cast<uintptr_t>(address));
  if (found == names_.end()) return std::nullopt;
  return found->second;
}

}  // namespace tileskip
