#include "symbol_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

extern "C" {
// Neither inlined nor merged with one another.
__attribute__((noinline)) int tileskip_first_symbol(int x) { return x + 1; }
__attribute__((noinline)) int tileskip_second_symbol(int x) { return x * 3; }
}

namespace tileskip {
namespace {

// A name that no other test program uses at the same time.
std::string ScratchPath() {
  return ::testing::TempDir() + "/symbol-table-" + std::to_string(getpid());
}

const void* AddressOf(int (*function)(int)) {
  return reinterpret_cast<const void*>(function);
}

TEST(SymbolTable, NamesThisProgramsFunctionsByAddress) {
  const Result<SymbolTable> table = SymbolTable::OfThisProgram();
  ASSERT_TRUE(table.ok()) << table.status().message();
  EXPECT_EQ(table.value().NameOf(AddressOf(tileskip_first_symbol)),
            "tileskip_first_symbol");
  EXPECT_EQ(table.value().NameOf(AddressOf(tileskip_second_symbol)),
            "tileskip_second_symbol");
}

TEST(SymbolTable, KnowsNoNameForTheInsideOfAFunction) {
  const Result<SymbolTable> table = SymbolTable::OfThisProgram();
  ASSERT_TRUE(table.ok());
  const char* inside =
      static_cast<const char*>(AddressOf(tileskip_first_symbol)) + 1;
  EXPECT_EQ(table.value().NameOf(inside), std::nullopt);
  EXPECT_EQ(table.value().NameOf(nullptr), std::nullopt);
}

TEST(SymbolTable, RefusesWhatIsNoProgram) {
  const std::string path = ScratchPath();
  std::ofstream(path) << std::string(1000, 'x');
  EXPECT_FALSE(SymbolTable::FromFile(path, 0).ok());
  std::remove(path.c_str());
  EXPECT_FALSE(SymbolTable::FromFile(path, 0).ok());
}

TEST(SymbolTable, SurvivesAProgramThatIsCutShort) {
  std::ifstream self("/proc/self/exe", std::ios::binary);
  std::string program(std::istreambuf_iterator<char>(self), {});
  const std::string path = ScratchPath();
  for (const size_t length : {size_t{0}, size_t{16}, size_t{63}, size_t{64},
                              program.size() / 2, program.size() - 1}) {
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        << program.substr(0, length);
    EXPECT_FALSE(SymbolTable::FromFile(path, 0).ok()) << length;
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace tileskip
