#define kept 1
const uint8_t CONV1[2][2] = {
    { kept, 0 },
    { 0, kept },
  };
