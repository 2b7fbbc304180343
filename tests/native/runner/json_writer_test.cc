#include "json_writer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace tileskip {
namespace {

TEST(JsonWriter, PlacesCommasAndNests) {
  JsonWriter json;
  json.BeginObject();
  json.Key("a").Int(1);
  json.Key("b").BeginArray().Bool(true).Null().BeginObject().EndObject();
  json.EndArray();
  json.Key("c").BeginArray().EndArray();
  json.EndObject();
  EXPECT_EQ(json.text(), R"({"a": 1, "b": [true, null, {}], "c": []})");
}

TEST(JsonWriter, WritesIntegersWhole) {
  JsonWriter json;
  json.BeginArray();
  json.Int(std::numeric_limits<int64_t>::min());
  json.Uint(std::numeric_limits<uint64_t>::max());
  json.EndArray();
  EXPECT_EQ(json.text(), "[-9223372036854775808, 18446744073709551615]");
}

TEST(JsonWriter, WritesDoublesSoThatTheyReadBackTheSame) {
  for (const double value : {0.0, 0.1, 1.0 / 3, 1e-300, 123456789.123, -2.5}) {
    JsonWriter json;
    json.Double(value);
    EXPECT_EQ(std::stod(json.text()), value) << json.text();
  }
}

TEST(JsonWriter, WritesNumbersThatJsonHasNotAsNull) {
  JsonWriter json;
  json.BeginArray();
  json.Double(std::numeric_limits<double>::quiet_NaN());
  json.Double(std::numeric_limits<double>::infinity());
  json.EndArray();
  EXPECT_EQ(json.text(), "[null, null]");
}

TEST(JsonQuote, EscapesQuotesBackslashesAndControls) {
  EXPECT_EQ(JsonQuote("a\"b\\c\n\t\r"), R"("a\"b\\c\n\t\r")");
  EXPECT_EQ(JsonQuote(std::string_view("\0\x1f", 2)), R"("\u0000\u001f")");
}

TEST(JsonQuote, KeepsUtf8OfEveryLength) {
  const std::string text = "\x7f \u00e9 \u20ac \U0001F600";
  EXPECT_EQ(JsonQuote(text), "\"" + text + "\"");
}

TEST(JsonQuote, ReplacesBytesThatAreNoUtf8) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(JsonQuote("\xff"), "\"" + bad + "\"");
  // Cut short, overlong, a surrogate, past U+10FFFF, a stray continuation.
  EXPECT_EQ(JsonQuote("\xe2\x82"), "\"" + bad + bad + "\"");
  EXPECT_EQ(JsonQuote("\xc0\x80"), "\"" + bad + bad + "\"");
  EXPECT_EQ(JsonQuote("\xed\xa0\x80"), "\"" + bad + bad + bad + "\"");
  EXPECT_EQ(JsonQuote("\xf4\x90\x80\x80"), "\"" + bad + bad + bad + bad + "\"");
  EXPECT_EQ(JsonQuote("a\x80z"), "\"a" + bad + "z\"");
}

}  // namespace
}  // namespace tileskip
