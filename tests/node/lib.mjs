// One line of JSON per fact, for the test that started the script.
export const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
export const args = JSON.parse(process.argv[2]);
