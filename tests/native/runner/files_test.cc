#include "files.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace tileskip {
namespace {

class Files : public ::testing::Test {
 protected:
  Files() {
    std::string pattern = ::testing::TempDir() + "/filesXXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~Files() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }

  static std::string Contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string folder_;
};

TEST_F(Files, AreReadAtAnyOffset) {
  std::ofstream(Path("in")) << "0123456789";
  auto file = InputFile::Open(Path("in"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.value()->size(), 10u);
  char piece[4] = {};
  ASSERT_TRUE(file.value()->ReadAt(6, piece, 4).ok());
  EXPECT_EQ(std::string(piece, 4), "6789");
}

TEST_F(Files, ThatBecomeShorterAreAnError) {
  std::ofstream(Path("in")) << "0123456789";
  auto file = InputFile::Open(Path("in"));
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(Path("in"), 3);
  char piece[4];
  const Status status = file.value()->ReadAt(0, piece, 4);
  EXPECT_EQ(status.code(), ExitCode::kFile);
  EXPECT_EQ(status.message(), Path("in") + ": became shorter while in use");
}

TEST_F(Files, ThatAreMissingAreNamedWithTheReason) {
  const Status status = InputFile::Open(Path("none")).status();
  EXPECT_EQ(status.code(), ExitCode::kFile);
  EXPECT_EQ(status.message(),
            Path("none") + ": cannot be opened: No such file or directory");
}

TEST_F(Files, ThatAreFoldersOrPipesAreRefused) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(InputFile::Open(Path("pipe")).status().message(),
            Path("pipe") + ": is not a regular file");
  EXPECT_EQ(InputFile::Open(folder_).status().message(),
            folder_ + ": is not a regular file");
}

TEST_F(Files, AppearUnderTheirNameOnlyOnceTheyAreWhole) {
  auto file = OutputFile::Create(Path("out"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file.value()->Append("ab", 2).ok());
  ASSERT_TRUE(file.value()->Append("c", 1).ok());
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
  ASSERT_TRUE(file.value()->Finish().ok());
  ASSERT_TRUE(file.value()->Commit().ok());
  EXPECT_EQ(Contents(Path("out")), "abc");
  EXPECT_EQ(Names(), std::vector<std::string>{"out"});
}

TEST_F(Files, ThatAreGivenUpLeaveNothingAndKeepTheOldOne) {
  std::ofstream(Path("out")) << "old";
  {
    auto file = OutputFile::Create(Path("out"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file.value()->Append("new", 3).ok());
  }
  EXPECT_EQ(Contents(Path("out")), "old");
  EXPECT_EQ(Names(), std::vector<std::string>{"out"});
}

TEST_F(Files, WithoutAFolderAreAnErrorWithTheReason) {
  const Status status = OutputFile::Create(Path("no/out")).status();
  EXPECT_EQ(status.code(), ExitCode::kFile);
  EXPECT_EQ(status.message(),
            Path("no/out") + ": cannot be written: No such file or directory");
}

TEST_F(Files, ThatDoNotFitOnTheDiskAreAnErrorWithTheReason) {
  std::filesystem::create_symlink("/dev/full", Path("out"));
  EXPECT_EQ(WriteText(Path("out"), "text").message(),
            Path("out") + ": cannot be written: No space left on device");
}

TEST_F(Files, DevicesAreWrittenToAndNotReplaced) {
  ASSERT_TRUE(WriteText("/dev/null", "text").ok());
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST_F(Files, FoldersAreMadeWithWhatIsMissingAboveThem) {
  EXPECT_TRUE(MakeDirectories(Path("a/b")).ok());
  EXPECT_TRUE(MakeDirectories(Path("a/b")).ok());
  EXPECT_TRUE(std::filesystem::is_directory(Path("a/b")));
}

TEST_F(Files, AFileInTheWayOfAFolderIsAnError) {
  std::ofstream(Path("a")) << "x";
  EXPECT_EQ(MakeDirectories(Path("a")).code(), ExitCode::kFile);
  EXPECT_EQ(MakeDirectories(Path("a/b")).code(), ExitCode::kFile);
}

TEST_F(Files, TextIsWrittenInOnePiece) {
  ASSERT_TRUE(WriteText(Path("report"), "{}\n").ok());
  EXPECT_EQ(Contents(Path("report")), "{}\n");
  EXPECT_EQ(Names(), std::vector<std::string>{"report"});
}

}  // namespace
}  // namespace tileskip
