// Compares the outcomes with and without the gateway. Fails where they differ, or where there are none.
import { readFileSync } from 'node:fs';

let differences = 0;
for (const file of process.argv.slice(2)) {
  const { direct = {}, longhaul = {} } = JSON.parse(readFileSync(file, 'utf8'));
  const cases = Object.keys(direct);
  const outcome = (of) => of && `${of.behavior}, close ${of.behaviorClose} (${of.remoteCloseCode})`;
  const unlike = cases.filter((name) => outcome(direct[name]) !== outcome(longhaul[name]));
  for (const name of unlike) {
    console.log(`${name}: directly ${outcome(direct[name])}, through the gateway ${outcome(longhaul[name])}`);
  }
  console.log(`${file.split('/').at(-2)}: ${cases.length - unlike.length} of ${cases.length} outcomes are the same`);
  differences += cases.length === 0 ? 1 : unlike.length;
}
process.exit(differences === 0 ? 0 : 1);
