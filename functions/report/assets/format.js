// Numbers, money and times as the reader writes them.
//
// Amounts and units come as decimal texts and stay texts: Intl formats a text exactly, and
// a number of a script's would be a float. Browsers that cannot do that yet (before 2023)
// get the text as it came.

const locales = navigator.languages?.length ? [...navigator.languages] : undefined;
const formatsTexts = 'formatRange' in Intl.NumberFormat.prototype;
const made = new Map();

function formatter(kind, options) {
  const key = kind.name + JSON.stringify(options);
  if (!made.has(key)) made.set(key, new kind(locales, options));
  return made.get(key);
}

// Whole numbers of any size.
export function units(digits) {
  const format = formatter(Intl.NumberFormat, {});
  return format.format(formatsTexts ? digits : BigInt(digits));
}

// A decimal text in major units, with the decimals that it has: they are the currency's as
// the invoice has them.
export function money(amount, currency) {
  if (amount === null) return '–';
  const decimals = amount.split('.')[1]?.length ?? 0;
  const code = currency.toUpperCase();
  if (!formatsTexts) return `${code} ${amount}`;
  const format = formatter(Intl.NumberFormat, {
    style: 'currency',
    currency: code,
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  return format.format(amount);
}

// A label of the chart's axis: short, and never an amount.
export const short = (number) =>
  formatter(Intl.NumberFormat, { notation: 'compact', maximumFractionDigits: 1 }).format(number);

// A whole number of percent, of any size.
export const wholePercent = (number) =>
  formatter(Intl.NumberFormat, { style: 'unit', unit: 'percent' }).format(number);

export const percent = (perMille) =>
  formatter(Intl.NumberFormat, { style: 'percent', maximumFractionDigits: 1 }).format(perMille / 1000);

// Times in one zone; undefined is the reader's own.
export class Times {
  constructor(timeZone) {
    this.timeZone = timeZone;
  }

  #format(time, options) {
    return formatter(Intl.DateTimeFormat, { ...options, timeZone: this.timeZone }).format(new Date(time));
  }

  moment(time) {
    return this.#format(time, {
      year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit',
    });
  }

  second(time) {
    return this.#format(time, {
      month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit',
    });
  }

  clock(time) {
    return this.#format(time, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  }

  day(time) {
    return this.#format(time, { year: 'numeric', month: 'short', day: 'numeric' });
  }

  shortDay(time) {
    return this.#format(time, { month: 'short', day: 'numeric' });
  }

  hour(time) {
    return this.#format(time, { hour: '2-digit', minute: '2-digit' });
  }
}

// Days of the chart and of the period are those of the invoice: UTC.
export const utc = new Times('UTC');
