#include "options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tileskip {
namespace {

using Arguments = std::vector<std::string>;

std::string MessageOf(const Arguments& arguments) {
  const Result<Options> parsed = ParseOptions(arguments);
  EXPECT_EQ(parsed.status().code(), ExitCode::kUsage);
  return parsed.status().message();
}

TEST(Options, HaveTheirDefaults) {
  const Result<Options> parsed = ParseOptions({"--model", "m.tflite"});
  ASSERT_TRUE(parsed.ok());
  const Options& options = parsed.value();
  EXPECT_EQ(options.action, Action::kRun);
  EXPECT_EQ(options.model, "m.tflite");
  EXPECT_TRUE(options.inputs.empty());
  EXPECT_EQ(options.output_dir, "");
  EXPECT_EQ(options.runs, 20);
  EXPECT_EQ(options.warmup, 3);
  EXPECT_EQ(options.threads, 1);
  EXPECT_TRUE(options.delegate);
  EXPECT_FALSE(options.per_op);
  EXPECT_FALSE(options.marks);
  EXPECT_TRUE(options.versus.empty());
  EXPECT_EQ(options.json, "");
}

TEST(Options, TakeValuesAfterASpaceOrAnEqualsSign) {
  const Result<Options> parsed = ParseOptions(
      {"--model=a=b.tflite", "--input", "x", "--input=y", "--output-dir", "o",
       "--runs=0", "--warmup", "7", "--threads", "4", "--no-delegate",
       "--per-op", "--json", "-"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const Options& options = parsed.value();
  EXPECT_EQ(options.model, "a=b.tflite");
  EXPECT_EQ(options.inputs, (Arguments{"x", "y"}));
  EXPECT_EQ(options.output_dir, "o");
  EXPECT_EQ(options.runs, 0);
  EXPECT_EQ(options.warmup, 7);
  EXPECT_EQ(options.threads, 4);
  EXPECT_FALSE(options.delegate);
  EXPECT_TRUE(options.per_op);
  EXPECT_EQ(options.json, "-");
}

TEST(Options, MarksAreForRunsPerOperatorAlone) {
  const Result<Options> parsed = ParseOptions({"--model=m", "--marks"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_TRUE(parsed.value().marks);
  EXPECT_TRUE(parsed.value().per_op);
  EXPECT_NE(MessageOf({"--model=m", "--marks", "--output-dir=o"})
                .find("--output-dir"),
            std::string::npos);
  EXPECT_NE(MessageOf({"--model=m", "--marks", "--versus=n"}).find("--versus"),
            std::string::npos);
}

TEST(Options, TakeMoreModelsToTimeInTurn) {
  const Result<Options> parsed =
      ParseOptions({"--model=a", "--versus", "b", "--versus=c"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed.value().versus, (Arguments{"b", "c"}));
}

TEST(Options, AskForTheVersionWithoutAModel) {
  EXPECT_EQ(ParseOptions({"--version"}).value().action, Action::kVersion);
  EXPECT_EQ(ParseOptions({"--help"}).value().action, Action::kHelp);
}

TEST(Options, NeedAModel) {
  EXPECT_NE(MessageOf({}).find("--model is missing"), std::string::npos);
}

TEST(Options, RefuseWhatTheyDoNotKnow) {
  EXPECT_EQ(MessageOf({"--model", "m", "--runz", "3"}),
            "unknown argument '--runz'; --help lists the options");
  EXPECT_EQ(MessageOf({"m.tflite"}),
            "unknown argument 'm.tflite'; --help lists the options");
}

TEST(Options, RefuseAValueWhereThereIsNone) {
  EXPECT_EQ(MessageOf({"--model", "m", "--per-op=yes"}),
            "--per-op takes no value");
}

TEST(Options, NeedTheirValues) {
  EXPECT_EQ(MessageOf({"--model"}), "--model needs a value");
  EXPECT_EQ(MessageOf({"--model="}), "--model needs a value");
}

TEST(Options, RefuseNumbersThatAreNoneOrOutOfRange) {
  for (const std::string bad :
       {"", "x", "3x", " 3", "-1", "1e3", "99999999999999999999"}) {
    EXPECT_EQ(MessageOf({"--model", "m", "--runs", bad}),
              "--runs needs a number from 0 to 1000000, not '" + bad + "'");
  }
  EXPECT_EQ(MessageOf({"--model", "m", "--threads", "0"}),
            "--threads needs a number from 1 to 64, not '0'");
}

}  // namespace
}  // namespace tileskip
