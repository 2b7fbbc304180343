const uint8_t CONV1[2][2] = {
    { 1, 0 },
    { 0, 1 }, };
/* conv2 is left out
const uint8_t CONV2[2][2] = {
    { 1, 0 },
    { 0, 1 },
  };
