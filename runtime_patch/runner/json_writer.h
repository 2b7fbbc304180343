// Writes one JSON document, piece by piece, without holding a tree of it.

#ifndef TILESKIP_RUNNER_JSON_WRITER_H_
#define TILESKIP_RUNNER_JSON_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tileskip {

// Commas are placed by the writer; balancing Begin and End, and a Key before
// each value inside an object, are the caller's.
class JsonWriter {
 public:
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view key);

  // Bytes that are no UTF-8 become U+FFFD.
  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& Uint(uint64_t value);
  // The shortest digits that read back as `value`; NaN and infinity, which JSON
  // has not, become null.
  JsonWriter& Double(double value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  const std::string& text() const { return text_; }

 private:
  void Separate();

  std::string text_;
  // Whether the next element of each open object or array is its first.
  std::vector<bool> first_;
  bool after_key_ = false;
};

// `value` as a JSON string, with its quotes.
std::string JsonQuote(std::string_view value);

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_JSON_WRITER_H_
